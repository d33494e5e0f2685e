"""call_before_training: an extension is called once more before the first iteration, and not after a resume."""

from __future__ import annotations

from compat.side_by_side.support import Training


def main(api, out):
    def run(stop, resume=None):
        training = Training(api, out, (stop, "iteration"))
        called = []

        def note(trainer):
            called.append([trainer.updater.iteration, trainer.is_before_training, sorted(trainer.observation)])
            api.reporter.report({"noted": len(called)})

        training.trainer.extend(note, trigger=(2, "iteration"), call_before_training=True)
        training.trainer.extend(lambda trainer: called.append("first"), name="first", priority=200)
        if resume is not None:
            api.serializers.load_npz(resume, training.trainer)
        before = training.trainer.is_before_training
        training.trainer.extend(
            lambda trainer: api.serializers.save_npz(str(out / "saved.npz"), trainer), name="save", priority=-1000
        )
        training.run()
        return [before, called]

    first = run(3)
    return {"from the start": first, "resumed": run(5, resume=str(out / "saved.npz"))}
