"""save_hdf5, load_hdf5 and their serializers, and files of the one library in the other."""

from __future__ import annotations

import chainer
import chainer.links as L
import h5py
import numpy as np

from compat.side_by_side.support import MLP, Training, kind_raised, parameters

DIFFERS = {
    # A log is a text, and a trainer without its log is not the trainer.
    "a text": ["TypeError", None],
    # One element in the place of four is a mistake; so is 1.5 in the place of an int. A misfit of any kind is a
    # ValueError that names what does not fit.
    "a shape that broadcasts": [None, "ValueError"],
    "another shape": ["TypeError", "ValueError"],
    "float into an array of ints": [None, "ValueError"],
    "float into an int": [None, "ValueError"],
    # KeyError is what the serialize methods of Chainer's triggers and reports are prepared for.
    "no such group": ["ValueError", "KeyError"],
    # A file that is read is not written to.
    "groups after a deserializer has asked for one": [["model", "none"], ["model"]],
}


class Value:
    """An object of one value."""

    def __init__(self, value):
        self.value = value

    def serialize(self, serializer):
        self.value = serializer("v", self.value)


def layout(path):
    """What a file holds: for each dataset its shape, its dtype and how it is packed."""
    found = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = [item.shape, item.dtype.str, item.compression, item.compression_opts]

    with h5py.File(path, "r") as file:
        file.visititems(note)
    return found


def main(api, out):
    serializers = api.serializers
    model = MLP()
    path = str(out / "model.h5")
    serializers.save_hdf5(path, model)
    serializers.save_hdf5(str(out / "packed.h5"), model, compression=9)
    serializers.save_hdf5(str(out / "dict.h5"), {"/a": np.arange(3), "b/c": np.ones(1)})
    other, there, here = MLP(), MLP(), MLP()
    array = other.l1.W.array
    serializers.load_hdf5(path, other)
    chainer.serializers.load_hdf5(path, there)
    chainer.serializers.save_hdf5(str(out / "chainers.h5"), model)
    serializers.load_hdf5(str(out / "chainers.h5"), here)

    training = Training(api, out, (5, "iteration"), optimizer=chainer.optimizers.Adam(0.05)).run()
    serializers.save_hdf5(str(out / "trainer.h5"), training.trainer)
    back = Training(api, out, (5, "iteration"), optimizer=chainer.optimizers.Adam(0.05), seed=1)
    back.trainer.run(show_loop_exception_msg=False)
    serializers.load_hdf5(str(out / "trainer.h5"), back.trainer)
    moments = back.model.predictor.l1.W.update_rule.state

    def taken(saved, today):
        failure = kind_raised(serializers.save_hdf5, str(out / "value.h5"), Value(saved))
        target = Value(today)
        failure = failure or kind_raised(serializers.load_hdf5, str(out / "value.h5"), target)
        return failure or [type(target.value).__name__, np.asarray(target.value).tolist()]

    def refused(saved, today):
        found = taken(saved, today)
        return found if isinstance(found, str) else None

    with h5py.File(out / "by_hand.h5", "w") as file:
        serializer = serializers.HDF5Serializer(file, compression=1)
        returned = serializer["model"]("n", 3)
        serializer["model"]["l1"]("W", np.arange(4.0))
        by_hand = [serializer.compression, serializer["model"].group.name]
    with h5py.File(out / "by_hand.h5", "r") as file:
        strict = serializers.HDF5Deserializer(file)
        lenient = serializers.HDF5Deserializer(file, strict=False)
        asked = [strict["model"]("n", 0), strict["model"]["l1"]("W", None).tolist(), lenient["none"]("n", 7)]
        missing = kind_raised(strict["model"], "x", 0), kind_raised(strict["none"], "x", 0)
    with h5py.File(out / "by_hand.h5", "a") as file:
        serializers.HDF5Deserializer(file, strict=False)["none"]("x", 0)
        groups = sorted(file)

    empty, full = L.Linear(None, 2), L.Linear(3, 2)
    serializers.save_hdf5(str(out / "empty.h5"), empty)
    serializers.save_hdf5(str(out / "full.h5"), full)
    before = full.W.array.tolist()
    serializers.load_hdf5(str(out / "empty.h5"), full)
    serializers.load_hdf5(str(out / "full.h5"), empty)
    return {
        "layout": layout(path),
        "packed": layout(out / "packed.h5"),
        "a dict": layout(out / "dict.h5"),
        "by hand": [*by_hand, returned, layout(out / "by_hand.h5")],
        "restored": [parameters(other) == parameters(model), other.l1.W.array is array],
        "in Chainer": parameters(there) == parameters(model),
        "from Chainer": parameters(here) == parameters(model),
        "a trainer": [back.updater.iteration, back.optimizer.t, parameters(back.model) == parameters(training.model)],
        "moments": moments,
        "asked": asked,
        "no such name": missing[0],
        "no such group": missing[1],
        "groups after a deserializer has asked for one": groups,
        "None": [taken(None, 3), layout(out / "value.h5")],
        "an array into None": taken(np.arange(3), None),
        "an int": taken(7, 0),
        "a bool": taken(True, False),
        "an int into a float": taken(7, 0.0),
        "double into single": taken(np.array([0.1, 2]), np.zeros(2, "f")),
        "a text": refused("grüße", ""),
        "a shape that broadcasts": refused(np.ones(1), np.zeros(4)),
        "another shape": refused(np.ones(3), np.zeros(4)),
        "float into an array of ints": refused(np.array([1.5]), np.zeros(1, int)),
        "float into an int": refused(1.5, 0),
        "without a shape": [full.W.array.tolist() == before, empty.W.array.tolist() == before],
        "no file": kind_raised(serializers.load_hdf5, str(out / "absent.h5"), model),
    }
