"""Trainer.extend: under which names extensions are registered, and which trigger and priority they get."""

from __future__ import annotations

from compat.side_by_side.support import Training, kind_raised, raised


def main(api, out):
    training, extensions = api.training, api.training.extensions
    trainer = Training(api, out).trainer

    class Named(training.Extension):
        name = "given"

    class ByDefault(training.Extension):
        default_name = "default"

    class Plain(training.Extension):
        pass

    class Bare:
        def __call__(self, trainer):
            pass

    def function(trainer):
        pass

    registered = [Named(), Named(), ByDefault(), Plain(), Plain(), Plain(), function, extensions.LogReport()]
    for extension in registered:
        trainer.extend(extension)
    trainer.extend(lambda trainer: None)
    trainer.extend(Plain(), name="other")
    trainer.extend(Plain(), name="other")
    trainer.extend(Bare(), name="bare")
    trainer.extend(extensions.snapshot())
    trainer.extend(extensions.snapshot_object(None, "object"))
    names = "given given_1 default Plain Plain_1 Plain_2 function LogReport <lambda> other other_1 bare _Snapshot"
    found = [trainer.get_extension(name) for name in [*names.split(), "_Snapshot_1"]]
    return {
        "names": [type(one).__name__ for one in found],
        "found again": [one is other for one, other in zip(found, registered, strict=False)],
        "told": [one.name for one in registered if one is not function],
        "without a name": kind_raised(trainer.extend, Bare()),
        "training": raised(trainer.extend, Plain(), name="training")[0],
        "not there": raised(trainer.get_extension, "absent")[1].partition(";")[0],
        "an argument that is none": kind_raised(trainer.extend, Plain(), name="x", invoke_before_run=True),
        "taken in": [
            str(training.Extension.trigger),
            training.Extension.priority,
            training.PRIORITY_WRITER,
            training.PRIORITY_EDITOR,
            training.PRIORITY_READER,
        ],
    }
