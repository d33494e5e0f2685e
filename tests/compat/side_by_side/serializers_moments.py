"""A fresh optimizer, and files that lack its moments, or are refused after it was given them."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import Training, kind_raised, parameters

DIFFERS = {
    # It names all that is missing, and changes nothing; Chainer leaves rules that fail at the next update.
    "moments that the file lacks": ["KeyError", "ValueError"],
    "trains all the same": [False, True],
    "unchanged": [False, True],
    # All or nothing: the rules are fresh again.
    "refused later": ["ZeroDivisionError", "ValueError"],
    "is fresh again": [False, True],
}


class Refusing:
    """An extension that does not take its state."""

    trigger = (1, "iteration")

    def __call__(self, trainer): ...

    def serialize(self, serializer):
        if serializer("n", np.zeros(1)).any():
            raise ZeroDivisionError


def main(api, out):
    def training(make, folder="out"):
        return Training(api, out / folder, (4, "iteration"), optimizer=make())

    def saved(path, trainer):
        trainer.extend(
            lambda trainer: api.serializers.save_npz(str(out / path), trainer), name="save", priority=-1,
            trigger=(4, "iteration"),
        )  # fmt: skip

    def adam():
        return chainer.optimizers.Adam(0.05)

    other = training(lambda: chainer.optimizers.SGD(0.1), "sgd")
    saved("sgd.npz", other.trainer)
    other.run()
    lacking = training(adam)
    before = parameters(lacking.model)
    failure = kind_raised(api.serializers.load_npz, str(out / "sgd.npz"), lacking.trainer)
    unchanged = parameters(lacking.model) == before and lacking.optimizer.t == 0
    trains = kind_raised(lacking.run) is None

    source = training(adam, "source")
    saved("adam.npz", source.trainer)
    source.run()
    with np.load(out / "adam.npz", allow_pickle=True) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(out / "adam.npz", **arrays, **{"extensions/refusing/n": np.ones(1)})
    refused = training(adam, "refused")
    refused.trainer.extend(Refusing(), name="refusing")
    refusal = kind_raised(api.serializers.load_npz, str(out / "adam.npz"), refused.trainer)
    fresh = all(param.update_rule.state is None for param in refused.model.params()) and refused.optimizer.t == 0
    return {
        "moments that the file lacks": failure,
        "unchanged": unchanged,
        "trains all the same": trains,
        "refused later": refusal,
        "is fresh again": fresh,
    }
