"""A savefun of the program's own: what it is called with, and what becomes of what it writes."""

from __future__ import annotations

import json
import os

import numpy as np

from compat.side_by_side.support import Training, files, kind_raised

DIFFERS = {
    # An error of writing is always one kind.
    "one that writes elsewhere": [["FileNotFoundError", []], ["OSError", []]],
}


def main(api, out):
    extensions = api.training.extensions
    calls = []

    def save_json(path, mapping):
        kinds = sorted({type(one).__name__ for one in mapping.values()})
        calls.append([os.path.basename(path), sorted(mapping), kinds])
        with open(path, "w") as file:
            json.dump({name: array.tolist() for name, array in mapping.items()}, file)

    def save_elsewhere(path, mapping):
        np.savez(path + ".other", **mapping)

    def run(folder, savefun):
        training = Training(api, out / folder, (4, "iteration"))
        extension = extensions.snapshot_object(training.model, "model_{.updater.iteration}.json", savefun)
        training.trainer.extend(extension, trigger=(2, "iteration"))
        return [kind_raised(training.run), files(out / folder)], training

    found, training = run("json", save_json)
    saved = json.loads((out / "json" / "model_4.json").read_text())
    mask = os.umask(0o027)
    try:
        run("masked", save_json)
    finally:
        os.umask(mask)
    live = {name.lstrip("/"): param.array.tolist() for name, param in training.model.namedparams()}
    return {
        "files": found,
        "calls": calls[:2],
        "values": saved == live,
        "mode": [oct((out / folder / "model_2.json").stat().st_mode & 0o777) for folder in ("json", "masked")],
        "by save_npz": run("npz", api.serializers.save_npz)[0],
        "one that writes elsewhere": run("elsewhere", save_elsewhere)[0],
    }
