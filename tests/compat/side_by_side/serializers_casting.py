"""Which dtypes load_npz converts, and which it refuses."""

from __future__ import annotations

import numpy as np

from compat.side_by_side.support import kind_raised

DIFFERS = {
    # A misfit of any kind is a ValueError that names what does not fit.
    "float into an array of ints": ["TypeError", "ValueError"],
    "float into an int": ["TypeError", "ValueError"],
    # Nothing is left half-way.
    "unchanged": [False, True],
}


class Values:
    """An object of some arrays and scalars."""

    def __init__(self, **values):
        self.values = values

    def serialize(self, serializer):
        for name in list(self.values):
            self.values[name] = serializer(name, self.values[name])


def main(api, out):
    path = str(out / "values")

    def taken(saved, today):
        api.serializers.save_npz(path, Values(v=saved))
        target = Values(v=today)
        failure = kind_raised(api.serializers.load_npz, path, target)
        found = target.values["v"]
        return failure or [type(found).__name__, found.tolist() if isinstance(found, np.ndarray) else found]

    api.serializers.save_npz(path, Values(a=np.ones(2), b=np.full(2, 1.5)))
    both = Values(a=np.zeros(2), b=np.zeros(2, int))
    first = both.values["a"]
    kind_raised(api.serializers.load_npz, path, both)
    unchanged = first.tolist() == [0, 0]
    return {
        "double into single": taken(np.array([0.1, 2]), np.zeros(2, "f")),
        "single into double": taken(np.array([0.5, 2], "f"), np.zeros(2)),
        "int into float": taken(np.array([1, 2]), np.zeros(2, "f")),
        "long into int": taken(np.array([1, 2]), np.zeros(2, np.int8)),
        "float into an array of ints": taken(np.array([1.5]), np.zeros(1, int)),
        "int into an int": taken(7, 0),
        "int into a float": taken(7, 0.0),
        "float into a float": taken(0.1, 0.0),
        "float into an int": taken(1.5, 0),
        "bool into a bool": taken(True, False),
        "text into a text": taken("grüße", ""),
        "an array into None": taken(np.arange(3), None),
        "None into an array": taken(None, np.zeros(2)),
        "None into a number": taken(None, 3),
        "unchanged": unchanged,
    }
