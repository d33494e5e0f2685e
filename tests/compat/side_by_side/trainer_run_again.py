"""Calling run() once more after it has failed: Chainer's goes on with what it has finalized, holdfast's refuses."""

from __future__ import annotations

from compat.side_by_side.support import Training, raised

DIFFERS = {
    # Its writers and extensions are finalized, and an iteration was left half done: a new trainer resumes instead.
    "again": [None, "RuntimeError"],
    "iterations": [5, 2],
}


def main(api, out):
    training = Training(api, out, (5, "iteration"))
    failures = []

    def failing_once(trainer):
        if trainer.updater.iteration == 2 and not failures:
            failures.append(trainer.updater.iteration)
            raise ZeroDivisionError("by nothing")

    training.trainer.extend(failing_once)
    first = raised(training.trainer.run, show_loop_exception_msg=False)
    again = raised(training.trainer.run)
    return {
        "first": first and first[0],
        "again": again and again[0],
        "iterations": training.updater.iteration,
    }
