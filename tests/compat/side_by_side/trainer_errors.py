"""What a trainer does when its loop fails: it says so, tells the extensions, finalizes, and raises the error again."""

from __future__ import annotations

from compat.side_by_side.support import Training, kind_raised, printed


def main(api, out):
    journal = []

    class Noted(api.training.Extension):
        priority = 50

        def on_error(self, trainer, exc, tb):
            journal.append(f"on_error {type(exc).__name__} {exc} {tb is not None} {trainer.updater.iteration}")

        def __call__(self, trainer):
            journal.append(f"call {trainer.updater.iteration}")

        def finalize(self):
            journal.append("finalize")

    def failing(trainer):
        if trainer.updater.iteration == 2:
            raise ZeroDivisionError("by nothing")

    def interrupted(trainer):
        raise KeyboardInterrupt

    def run(extension, **options):
        training = Training(api, out, (5, "iteration"))
        training.trainer.extend(extension, name="failing")
        training.trainer.extend(Noted())
        training.updater.finalize = lambda: journal.append("updater finalize")
        try:
            training.trainer.run(**options)
        except (ZeroDivisionError, KeyboardInterrupt) as error:
            journal.append(f"raised {type(error).__name__}")

    output, errors = printed(run, failing)
    told = [line for line in errors.splitlines() if not line.startswith("  ")]
    in_order = list(journal)
    journal.clear()
    run(interrupted)
    interrupt = list(journal)
    return {
        "order": in_order,
        "an interrupt": interrupt,
        "output": output,
        "errors": told,
        "told nothing": printed(run, failing, show_loop_exception_msg=False),
        "a bad stop trigger": kind_raised(lambda: Training(api, out, 5)),
    }
