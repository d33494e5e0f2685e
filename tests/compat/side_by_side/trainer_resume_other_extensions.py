"""A snapshot of a trainer that had another extension, or lacked one that this trainer has."""

from __future__ import annotations

from compat.side_by_side.support import Training, kind_raised, parameters, rows

DIFFERS = {
    # It names every key that is missing, and changes nothing; Chainer has changed the model by then.
    "more than the file": ["KeyError", "ValueError"],
    "unchanged": [False, True],
    # Where it is not to be strict, Chainer takes the empty text that it asks with for JSON.
    "more than the file, not strict": ["ValueError", None],
}


def main(api, out):
    log = api.training.extensions.LogReport

    def training(stop, *extensions):
        made = Training(api, out, (stop, "iteration"))
        for extension in extensions:
            made.trainer.extend(extension)
        return made

    less, more = str(out / "less"), str(out / "more")
    for path, parts in ((less, []), (more, [log(trigger=(2, "iteration"))])):
        made = training(3, *parts)
        made.trainer.extend(lambda trainer, path=path: api.serializers.save_npz(path, trainer), name="save", priority=0)
        made.run()

    refused = training(5, log(trigger=(2, "iteration")))
    before = parameters(refused.model)
    failure = kind_raised(api.serializers.load_npz, less, refused.trainer)
    unchanged = parameters(refused.model) == before
    lenient = training(5, log(trigger=(2, "iteration")))
    lenient_failure = kind_raised(api.serializers.load_npz, less, lenient.trainer, strict=False)
    lenient.run()
    without = training(5)
    api.serializers.load_npz(more, without.trainer)
    return {
        "more than the file": failure,
        "unchanged": unchanged,
        "more than the file, not strict": lenient_failure,
        "gone on": [lenient.updater.iteration, rows(lenient.trainer.get_extension("LogReport").log)],
        "less than the file": [without.updater.iteration, without.run().updater.iteration],
    }
