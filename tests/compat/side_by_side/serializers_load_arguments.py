"""The arguments of load_npz: path, strict, ignore_names."""

from __future__ import annotations

import chainer
import chainer.links as L
import numpy as np

from compat.side_by_side.support import MLP, Training, kind_raised, parameters

DIFFERS = {
    # holdfast looks at everything before it changes anything, and names all that is missing: a ValueError.
    "missing": ["KeyError", "ValueError"],
    "no such path": ["KeyError", "LookupError"],
}


class Longer(chainer.Chain):
    """An MLP with a layer more than the file has."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.l1 = L.Linear(2, 3)
            self.l3 = L.Linear(1, 1)


def main(api, out):
    serializers = api.serializers
    training = Training(api, out, (2, "iteration"))
    path = str(out / "trainer")
    training.trainer.extend(lambda trainer: serializers.save_npz(path, trainer), name="save")
    training.run()
    saved = parameters(training.model.predictor)

    def loaded(link, at="updater/model:main/predictor/", **options):
        failure = kind_raised(serializers.load_npz, path, link, path=at, **options)
        after = parameters(link)
        taken = sorted(name for name in after if after[name] == saved.get(name))
        return failure, taken

    with np.load(path, allow_pickle=True) as file:
        in_file = sorted(name for name in file.files if name.startswith("updater/model:main/"))
    return {
        "names": in_file,
        "path": loaded(MLP()),
        "missing": loaded(Longer())[0],
        "missing, not strict": loaded(Longer(), strict=False),
        "an ignored name": loaded(MLP(), ignore_names="updater/model:main/predictor/l1/W"),
        "ignored names": loaded(MLP(), ignore_names=["updater/model:main/predictor/l2/b", lambda n: n.endswith("W")]),
        "an ignored name that is missing": loaded(Longer(), ignore_names=lambda name: "l3" in name),
        "ignoring is a function": loaded(MLP(), ignore_names=lambda name: name.endswith("/b")),
        "ignoring what is none": loaded(MLP(), ignore_names=[3])[0],
        "no such path": loaded(MLP(), at="updater/model:other/")[0],
        "no file": kind_raised(serializers.load_npz, str(out / "absent"), MLP()),
    }
