"""Writes the golden files of Chainer 7.8.1, in an environment that has it, once: a folder that exists is never touched.

python tests/golden/make_chainer_files.py

They are what Chainer's own functions write: the snapshot of a trainer, a model with batch normalization, and a link
without a shape in npz and HDF5, and a trainer in HDF5. `expected.json` has the values that Chainer held in memory, by
file and name.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent / "chainer_7_8_1"


def make(folder: Path) -> None:
    """Write the files.

    Raises:
        FileExistsError: the folder is there already.
    """
    import chainer
    import chainer.functions as F
    import chainer.links as L

    folder.mkdir()
    serializers, extensions = chainer.serializers, chainer.training.extensions
    trainer = make_trainer(chainer.Sequential(L.Linear(None, 4), L.BatchNormalization(4), F.relu, L.Linear(None, 2)))
    trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
    trainer.extend(extensions.ExponentialShift("alpha", 0.5), trigger=(3, "iteration"))
    trainer.extend(extensions.snapshot(), trigger=(7, "iteration"))
    seen: dict[str, Any] = {}
    # right after the snapshot, which has priority -100
    trainer.extend(lambda trainer: seen.update(state_of(trainer)), name="see", trigger=(7, "iteration"), priority=-101)
    trainer.run()
    (Path(trainer.out) / "snapshot_iter_7").rename(folder / "snapshot_iter_7")
    expected = {"snapshot_iter_7": seen}

    for name, obj in {"model": trainer.updater.get_optimizer("main").target, "no_shape": L.Linear(None, 2)}.items():
        serializers.save_npz(str(folder / f"{name}.npz"), obj, compression=False)
        serializers.save_hdf5(str(folder / f"{name}.h5"), obj)
        expected[f"{name}.npz"] = expected[f"{name}.h5"] = state_of(obj)

    plain = make_trainer(L.Linear(None, 2))
    plain.extend(extensions.ExponentialShift("alpha", 0.5), trigger=(3, "iteration"))  # a log's text is an error there
    plain.run()
    serializers.save_hdf5(str(folder / "trainer.h5"), plain)
    expected["trainer.h5"] = state_of(plain)
    for state in expected.values():
        for name in [name for name in state if name == "_snapshot_elapsed_time" or "/see/" in name]:
            del state[name]  # the time, and the trigger that was asked last, were others when the file was written
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def make_trainer(network: Any) -> Any:
    """Seven iterations of a classifier with Adam, 2.8 to an epoch."""
    import chainer

    np.random.seed(0)
    optimizer = chainer.optimizers.Adam(0.05)
    optimizer.setup(chainer.links.Classifier(network))
    points = np.random.RandomState(1).randn(14, 3).astype("f")
    data = chainer.datasets.TupleDataset(points, (points[:, 0] > 0).astype("i"))
    updater = chainer.training.updaters.StandardUpdater(chainer.iterators.SerialIterator(data, 5), optimizer)
    return chainer.training.Trainer(updater, (7, "iteration"), out=tempfile.mkdtemp())


def state_of(obj: Any) -> dict[str, Any]:
    """Every value of an object by its name: dtype, and what it holds; None for None."""
    import chainer

    serializer = chainer.serializers.DictionarySerializer()
    serializer.save(obj)
    return {
        name: None if value[()] is None else [value.dtype.str, value.tolist()]
        for name, value in serializer.target.items()
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Chainer itself warns of every numpy and Python since 2020
    make(FOLDER)
    for path in sorted(FOLDER.iterdir()):
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")
