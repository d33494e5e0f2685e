"""OnceTrigger: fires in the first iteration, and again after a resume where it is told to."""

from __future__ import annotations

from compat.side_by_side.support import Training, fired_at


def main(api, out):
    once, serializers = api.training.triggers.OnceTrigger, api.serializers
    training = Training(api, out, (5, "iteration"))
    first = training.fired("first", once())
    training.run()
    used = once()
    before = used.finished
    fired_at(used, [1])
    state = serializers.DictionarySerializer()
    used.serialize(state)
    resumed, called_on_resume = once(), once(call_on_resume=True)
    for trigger in (resumed, called_on_resume):
        trigger.serialize(serializers.NpzDeserializer(state.target))
    return {
        "fired": first,
        "finished": [before, used.finished],
        "state": {name: bool(value) for name, value in state.target.items()},
        "resumed": [resumed.finished, fired_at(resumed, [2, 3])],
        "resumed, to be called": [called_on_resume.finished, fired_at(called_on_resume, [2, 3])],
    }
