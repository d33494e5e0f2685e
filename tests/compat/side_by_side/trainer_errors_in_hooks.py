"""Hooks of extensions that fail themselves."""

from __future__ import annotations

from compat.side_by_side.support import Training, printed

DIFFERS = {
    # What was initialized before is left open by Chainer.
    "initialize": [
        ["a initialize", "b initialize", "raised OSError"],
        ["a initialize", "b initialize", "a finalize", "updater", "raised OSError"],
    ],
    # The others stay open, and the error of the loop is lost but for its trace.
    "finalize": [
        ["a initialize", "b initialize", "a finalize", "raised OSError"],
        ["a initialize", "b initialize", "a finalize", "b finalize", "updater", "raised OSError"],
    ],
    "finalize after an error": [
        ["a initialize", "b initialize", "a on_error", "b on_error", "a finalize", "raised OSError"],
        [
            "a initialize", "b initialize", "a on_error", "b on_error", "a finalize", "b finalize", "updater",
            "raised ZeroDivisionError",
        ],
    ],
    # Chainer writes to a stream that it has not opened.
    "on_error, told nothing": [
        [
            "a initialize", "b initialize", "a on_error", "a finalize", "b finalize", "updater",
            "raised UnboundLocalError",
        ],
        [
            "a initialize", "b initialize", "a on_error", "b on_error", "a finalize", "b finalize", "updater",
            "raised ZeroDivisionError",
        ],
    ],
}  # fmt: skip


def main(api, out):
    def run(label, hook, fails, **options):
        journal = []
        training = Training(api, out, (1, "iteration"))

        class Noted(api.training.Extension):
            def __init__(self, label, fails=None):
                self.label, self.fails = label, fails

            def note(self, hook):
                journal.append(f"{self.label} {hook}")
                if hook == self.fails:
                    raise OSError(hook)

            def initialize(self, trainer):
                self.note("initialize")

            def on_error(self, trainer, exc, tb):
                self.note("on_error")

            def finalize(self):
                self.note("finalize")

            def __call__(self, trainer):
                if fails:
                    raise ZeroDivisionError("in the loop")

        for one in "ab":
            training.trainer.extend(Noted(one, hook if one == label else None), name=one)
        training.updater.finalize = lambda: journal.append("updater")
        try:
            printed(training.trainer.run, **options)
        except Exception as error:  # noqa: BLE001  which one it is, is the outcome
            journal.append(f"raised {type(error).__name__}")
        return journal

    return {
        "initialize": run("b", "initialize", False),
        "finalize": run("a", "finalize", False),
        "finalize after an error": run("a", "finalize", True),
        "on_error": run("a", "on_error", True),
        "on_error, told nothing": run("a", "on_error", True, show_loop_exception_msg=False),
    }
