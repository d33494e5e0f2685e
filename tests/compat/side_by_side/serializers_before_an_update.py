"""What was saved before the first update, loaded into a fresh optimizer, which has no moments yet either."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import Training, kind_raised, parameters

DIFFERS = {
    # A fresh optimizer is all that such a snapshot holds.
    "a trainer": ["KeyError", None],
    "an optimizer": ["KeyError", None],
    "goes on as if": [False, True],
    # Moments that were saved by nobody are missed; it is a ValueError that names what is missing.
    "moments that the file lacks": ["KeyError", "ValueError"],
}


def main(api, out):
    serializers = api.serializers

    def training(seed=0):
        return Training(api, out, (4, "iteration"), optimizer=chainer.optimizers.Adam(0.05), seed=seed)

    whole = training()
    whole.trainer.extend(
        lambda trainer: serializers.save_npz(str(out / "trainer"), trainer),
        name="save",
        trigger=(99, "iteration"),
        call_before_training=True,
    )
    serializers.save_npz(str(out / "optimizer"), whole.optimizer)
    whole.run()

    again = training(seed=1)
    of_a_trainer = kind_raised(serializers.load_npz, str(out / "trainer"), again.trainer)
    goes_on = of_a_trainer is None and parameters(again.run().model) == parameters(whole.model)
    alone = training()
    of_an_optimizer = kind_raised(serializers.load_npz, str(out / "optimizer"), alone.optimizer)
    lenient = training()
    serializers.load_npz(str(out / "optimizer"), lenient.optimizer, strict=False)
    other = Training(api, out / "other", (4, "iteration"), optimizer=chainer.optimizers.SGD(0.1)).run()
    serializers.save_npz(str(out / "sgd"), other.optimizer)
    return {
        "a trainer": of_a_trainer,
        "goes on as if": goes_on,
        "an optimizer": of_an_optimizer,
        "not strict": [lenient.optimizer.t, parameters(lenient.run().model) == parameters(whole.model)],
        "moments that the file lacks": kind_raised(serializers.load_npz, str(out / "sgd"), training().optimizer),
    }
