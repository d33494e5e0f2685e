"""snapshot_on_error: one more snapshot when the loop fails, whatever trigger and condition say."""

from __future__ import annotations

from compat.side_by_side.support import Training, files, kind_raised

DIFFERS = {
    # Iteration 4 is half-way through 5 by then: Chainer puts that in the place of the good snapshot of 4.
    "a good one has the name": [["s_2", "s_4"], ["s_2", "s_4", "s_4.error"]],
}


def main(api, out):
    extensions = api.training.extensions

    def run(folder, fails_at, every=2, error=ZeroDivisionError, **options):
        training = Training(api, out / folder, (9, "iteration"))
        extension = extensions.snapshot(filename="s_{.updater.iteration}", **options)
        training.trainer.extend(extension, trigger=(every, "iteration"))
        update = training.updater.update_core

        def failing():
            if training.updater.iteration + 1 == fails_at:
                raise error("half-way")
            update()

        training.updater.update_core = failing
        return kind_raised(training.run), files(out / folder)

    def interrupted():
        try:
            run("interrupt", 4, error=KeyboardInterrupt, snapshot_on_error=True)
        except KeyboardInterrupt:
            return files(out / "interrupt")

    failure, found = run("taken", 5, snapshot_on_error=True)
    return {
        "between two": run("between", 4, snapshot_on_error=True),
        "a good one has the name": found,
        "the error": failure,
        "whatever the condition says": run("condition", 4, snapshot_on_error=True, condition=lambda: False),
        "whatever the trigger says": run("trigger", 4, every=100, snapshot_on_error=True),
        "not by default": run("default", 4),
        "an interrupt is no error": interrupted(),
    }
