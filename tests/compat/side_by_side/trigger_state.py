"""What triggers keep in a snapshot, under which keys, and that they go on from it as if nothing had happened."""

from __future__ import annotations

from compat.side_by_side.support import At

LOSSES = [3.0, 1.0, 2.0, 2.0, 5.0, 0.5, 0.25, 0.25, 9.0, 1.0, 4.0, 0.125]

DIFFERS = {
    # Chainer keeps nothing of it: a resumed run would stop later than the other.
    "early stopping, keys": [
        [],
        [
            "best", "count", "interval_trigger/previous_epoch_detail", "interval_trigger/previous_iteration",
            "max_trigger/previous_epoch_detail", "max_trigger/previous_iteration", "summary/_names",
        ],
    ],
    "early stopping, gone on": [[12], [10]],
}  # fmt: skip


def main(api, out):
    triggers, serializers = api.training.triggers, api.serializers
    makers = {
        "interval": lambda: triggers.IntervalTrigger(3, "iteration"),
        "interval in epochs": lambda: triggers.IntervalTrigger(0.5, "epoch"),
        "schedule": lambda: triggers.ManualScheduleTrigger([2, 5, 8], "iteration"),
        "max": lambda: triggers.MaxValueTrigger("loss", (2, "iteration")),
        "min": lambda: triggers.MinValueTrigger("loss", (3, "iteration")),
    }
    outcome = {}
    for name, make in makers.items():
        outcome |= {f"{name}, {what}": found for what, found in stopped_at(5, make, serializers).items()}

    def stopping():
        return triggers.EarlyStoppingTrigger((1, "iteration"), "loss", patience=3, max_trigger=(12, "iteration"))

    found = stopped_at(8, stopping, serializers)
    return {
        **outcome,
        "early stopping, keys": found["keys"],
        "early stopping, gone on": found["gone on"][:1],
    }


def stopped_at(last, make, serializers):
    """What a trigger keeps after iteration `last`, and when another one that is given it fires."""
    trigger, at, fired = make(), At(4), []
    for at.iteration in range(1, last + 1):
        at.observation = {"loss": LOSSES[at.iteration - 1]}
        if trigger(at):
            fired.append(at.iteration)
    state = serializers.DictionarySerializer()
    resumed, gone_on = make(), []
    if hasattr(trigger, "serialize"):
        trigger.serialize(state)
        resumed.serialize(serializers.NpzDeserializer(state.target))
    for at.iteration in range(last + 1, 13):
        at.observation = {"loss": LOSSES[at.iteration - 1]}
        if resumed(at):
            gone_on.append(at.iteration)
    values = {key: value.item() for key, value in state.target.items()}
    return {"fired": fired, "keys": sorted(values), "values": values, "gone on": gone_on}
