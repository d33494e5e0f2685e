"""save_npz and load_npz: a link and an optimizer to a file and back, under the names that the program gives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import chainer
import chainer.links as L
import numpy as np

from compat.side_by_side.support import MLP, Training, files, parameters

DIFFERS = {
    # numpy adds an ending of its own to what is no str.
    "a path that is no str": [["by_path.npz"], ["by_path"]],
}


def main(api, out):
    serializers = api.serializers
    training = Training(api, out, (3, "iteration"), optimizer=chainer.optimizers.MomentumSGD(0.1)).run()
    model = training.model.predictor
    serializers.save_npz(str(out / "model"), model)
    serializers.save_npz(str(out / "stored.npz"), model, compression=False)
    serializers.save_npz(str(out / "optimizer.npz"), training.optimizer)
    serializers.save_npz(str(out / "flat.npz"), {"a": np.arange(3), "b/c": np.ones(1)})
    (out / "paths").mkdir()
    serializers.save_npz(Path(out) / "paths" / "by_path", model)
    stream = io.BytesIO()
    serializers.save_npz(stream, model)
    other = MLP()
    array = other.l1.W.array
    serializers.load_npz(str(out / "model"), other)
    fresh = chainer.optimizers.MomentumSGD(0.7)
    fresh.setup(L.Classifier(MLP()))
    serializers.load_npz(str(out / "optimizer.npz"), fresh)
    kinds = {}
    for name in ("model", "stored.npz"):
        with zipfile.ZipFile(out / name) as archive:
            kinds[name] = sorted({member.compress_type for member in archive.infolist()})
    with np.load(io.BytesIO(stream.getvalue())) as file:
        in_stream = sorted(file.files)
    with np.load(out / "optimizer.npz") as file:
        of_the_optimizer = {name: file[name] for name in sorted(file.files)}
    with np.load(out / "flat.npz") as file:
        flat = {name: file[name] for name in sorted(file.files)}
    return {
        "files": [name for name in files(out) if not name.startswith("paths")],
        "a path that is no str": files(out / "paths"),
        "compression": kinds,
        "a stream": in_stream,
        "restored": parameters(other) == parameters(model),
        "in place": other.l1.W.array is array,
        "the optimizer": of_the_optimizer,
        "the optimizer, restored": [fresh.t, fresh.epoch, fresh.lr, fresh.target.predictor.l1.W.update_rule.state],
        "a dict": flat,
    }
