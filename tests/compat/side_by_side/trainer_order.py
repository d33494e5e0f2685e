"""In which order a trainer calls its extensions, and their hooks."""

from __future__ import annotations

from compat.side_by_side.support import Training


def main(api, out):
    training = Training(api, out, (2, "iteration"))
    journal = []

    class Noted(api.training.Extension):
        def __init__(self, label, priority):
            self.label, self.priority = label, priority

        def initialize(self, trainer):
            journal.append(f"{self.label} initialize")

        def __call__(self, trainer):
            journal.append(f"{self.label} {trainer.updater.iteration}")

        def finalize(self):
            journal.append(f"{self.label} finalize")

    @api.training.make_extension(
        trigger=(2, "iteration"),
        priority=api.training.PRIORITY_EDITOR,
        initializer=lambda trainer: journal.append("made initialize"),
        finalizer=lambda: journal.append("made finalize"),
    )
    def made(trainer):
        journal.append(f"made {trainer.updater.iteration}")

    trainer = training.trainer
    trainer.extend(Noted("reader", 100))
    trainer.extend(Noted("last", -7))
    trainer.extend(Noted("writer", api.training.PRIORITY_WRITER))
    trainer.extend(made)
    trainer.extend(Noted("second reader", 100))
    trainer.extend(Noted("raised", 1), priority=250)
    trainer.extend(lambda trainer: journal.append(f"function {trainer.updater.iteration}"), name="function")
    training.updater.finalize = lambda: journal.append("updater finalize")
    training.run()
    return {"journal": journal}
