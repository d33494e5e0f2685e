"""What snapshot and snapshot_object refuse, and how they warn."""

from __future__ import annotations

import warnings

from compat.side_by_side.support import Training, kind_raised, raised

DIFFERS = {
    # Chainer always says snapshot(), whichever of the two was called.
    "the function is named": [False, True],
    # It names the function, and shows the caller's line.
    "num_retain, text": [
        "Argument `num_retain` is deprecated. Please use `n_retains` instead",
        "snapshot_object: num_retain is deprecated, use n_retains",
    ],
    "num_retain, shows the program": [False, True],
    # A function's names cannot be told from others: Chainer fails in the middle of a run, or does nothing.
    "a function and n_retains": [None, "ValueError"],
    "a function and autoload": [None, "ValueError"],
    "n_retains is none": [None, "TypeError"],
}


def main(api, out):
    extensions = api.training.extensions
    model = Training(api, out).model
    unknown = raised(extensions.snapshot_object, model, "model", keep_all=True)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        extension = extensions.snapshot_object(model, "m_{.updater.iteration}", num_retain=3, n_retains=7)
    return {
        "both": raised(extensions.snapshot_object, model, "m", savefun=print, writer=print),
        "an argument that is none": [unknown[0], "keep_all" in unknown[1]],
        "the function is named": "snapshot_object()" in unknown[1],
        "arguments by position": kind_raised(extensions.snapshot_object, model, "m", None, lambda: True),
        "no filename": kind_raised(extensions.snapshot_object, model),
        "num_retain": [extension.n_retains, [one.category.__name__ for one in seen]],
        "num_retain, text": str(seen[0].message),
        "num_retain, shows the program": seen[0].filename == __file__,
        "a function and n_retains": kind_raised(extensions.snapshot, filename=lambda trainer: "s", n_retains=2),
        "a function and autoload": kind_raised(extensions.snapshot, filename=lambda trainer: "s", autoload=True),
        "n_retains is none": kind_raised(extensions.snapshot, n_retains="two"),
    }
