"""A link whose parameters have no shape yet, saved and restored in both directions."""

from __future__ import annotations

import chainer
import chainer.links as L
import numpy as np

from compat.side_by_side.support import parameters


def main(api, out):
    serializers = api.serializers

    def linear(initialised):
        link = L.Linear(None, 2)
        if initialised:
            link(np.ones((1, 3), "f"))
        return link

    empty, full = linear(False), linear(True)
    serializers.save_npz(str(out / "empty"), empty)
    serializers.save_npz(str(out / "full"), full)
    taken = linear(False)
    serializers.load_npz(str(out / "full"), taken)
    kept = linear(True)
    before = parameters(kept)["/W"]
    serializers.load_npz(str(out / "empty"), kept)
    still_empty = linear(False)
    serializers.load_npz(str(out / "empty"), still_empty)
    with np.load(out / "empty", allow_pickle=True) as file:
        is_none = file["W"][()] is None
    optimizer = chainer.optimizers.Adam()
    optimizer.setup(taken)
    return {
        "None in the file": is_none,
        "initialised by the file": parameters(taken) == parameters(full),
        "the shape": taken.W.array.shape,
        "nothing for what is there": parameters(kept)["/W"] == before,
        "nothing for nothing": still_empty.W.array is None,
        "can be trained": [name for name, param in sorted(taken.namedparams()) if param.update_rule is not None],
    }
