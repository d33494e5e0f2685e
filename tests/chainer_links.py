"""An object as Chainer's are, for the tests of every format, and what is in a file."""

from __future__ import annotations

import numpy as np


class Link:
    """One method saves and restores: arrays, None, a number, a text, and a child."""

    def __init__(self, value=0.0, child=True):
        self.W = np.full((2, 3), value, np.float32)
        self.b = None
        self.count = int(value)
        self.name = f"link {value}"
        self.child = Link(value + 1, child=False) if child else None

    def serialize(self, serializer):
        self.W = serializer("W", self.W)
        self.b = serializer("b", self.b)
        self.count = serializer("count", self.count)
        self.name = serializer("name", self.name)
        if self.child is not None:
            self.child.serialize(serializer["child"])


NAMES = ["W", "b", "child/W", "child/b", "child/count", "child/name", "count", "name"]
"""Of a Link in a file."""


def names_in(path):
    """The paths of all datasets of an HDF5 file."""
    import h5py

    found = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(found)
