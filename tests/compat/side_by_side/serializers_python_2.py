"""A text in a file that Chainer wrote under Python 2: an array of bytes."""

from __future__ import annotations

import json

import numpy as np

from compat.side_by_side.support import Training, kind_raised

DIFFERS = {
    # Under Python 3 Chainer makes a text of how the bytes would be printed.
    "a text": ["b'text'", "text"],
    "a log": ["ValueError", None],
    "rows": [[], [{"iteration": 3}]],
}


class Text:
    """An object of one text."""

    def __init__(self):
        self.text = ""

    def serialize(self, serializer):
        self.text = serializer("text", self.text)


def main(api, out):
    np.savez(out / "text.npz", text=np.asarray(b"text"))
    target = Text()
    api.serializers.load_npz(str(out / "text.npz"), target)
    path = str(out / "trainer.npz")
    training = Training(api, out, (3, "iteration"))
    training.trainer.extend(api.training.extensions.LogReport(trigger=(9, "iteration")))
    training.run()
    api.serializers.save_npz(path, training.trainer)
    with np.load(path, allow_pickle=True) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["extensions/LogReport/_log"] = np.asarray(json.dumps([{"iteration": 3}]).encode())
    np.savez(path, **arrays)
    again = Training(api, out, (5, "iteration"))
    again.trainer.extend(api.training.extensions.LogReport(trigger=(9, "iteration")))
    failure = kind_raised(api.serializers.load_npz, path, again.trainer)
    return {
        "a text": target.text,
        "a log": failure,
        "rows": again.trainer.get_extension("LogReport").log,
    }
