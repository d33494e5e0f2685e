"""An array of the file whose shape is not that of the target."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import kind_raised

DIFFERS = {
    # One element in the place of four is a mistake, and no load.
    "a shape that broadcasts": [None, "ValueError"],
    "a row for a matrix": [None, "ValueError"],
}


def link_of(array):
    link = chainer.Link()
    link.add_persistent("W", array)
    return link


def main(api, out):
    def loaded(saved, today):
        api.serializers.save_npz(str(out / "link"), link_of(saved))
        return kind_raised(api.serializers.load_npz, str(out / "link"), link_of(today))

    return {
        "the same shape": loaded(np.ones((2, 3)), np.zeros((2, 3))),
        "another shape": loaded(np.ones((3, 2)), np.zeros((2, 3))),
        "a shape that broadcasts": loaded(np.ones(1), np.zeros(4)),
        "a row for a matrix": loaded(np.ones(3), np.zeros((2, 3))),
    }
