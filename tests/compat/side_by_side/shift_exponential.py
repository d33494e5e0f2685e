"""ExponentialShift: an attribute of the optimizer times a rate, at each call."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import MLP, Training, kind_raised, shifted

DIFFERS = {
    # The first value, which is not to be found any more where the optimizer has another one by then.
    "added": [[], ["_shift"]],
}


def main(api, out):
    shift = api.training.extensions.ExponentialShift
    other = chainer.optimizers.SGD(8.0)
    other.setup(MLP())
    training = Training(api, out, (3, "iteration"))
    training.trainer.extend(shift("lr", 0.5, optimizer=other))
    training.run()
    state = api.serializers.DictionarySerializer()
    training.trainer.get_extension("ExponentialShift").serialize(state)
    return {
        "each iteration": shifted(api, out, lambda: shift("lr", 0.9)),
        "each epoch": shifted(api, out, lambda: shift("lr", 0.1), trigger=(1, "epoch")),
        "from a value": shifted(api, out, lambda: shift("lr", 0.5, init=16)),
        "to a target below": shifted(api, out, lambda: shift("lr", 0.5, init=16, target=3)),
        "to a target above": shifted(api, out, lambda: shift("lr", 2, init=1, target=100)),
        "negative values": shifted(api, out, lambda: shift("lr", 0.5, init=-16, target=-3)),
        "another attribute": shifted(
            api, out, lambda: shift("alpha", 0.5), "alpha", optimizer=lambda: chainer.optimizers.Adam(0.1)
        ),
        "another optimizer": [other.lr, training.optimizer.lr],
        "a negative rate": kind_raised(shift, "lr", -1),
        "state": {name: value.item() for name, value in sorted(state.target.items()) if name != "_shift"},
        "added": [name for name in state.target if name == "_shift"],
        "defaults": [shift("lr", 0.5).trigger, shift("lr", 0.5).priority],
    }
