"""make_extension: a function with the attributes of an extension."""

from __future__ import annotations

from compat.side_by_side.support import Training, kind_raised


def main(api, out):
    make_extension = api.training.make_extension

    @make_extension()
    def plain(trainer):
        """What it is for."""

    @make_extension(trigger=(2, "iteration"), default_name="named", priority=7)
    def given(trainer):
        called.append(trainer.updater.iteration)

    called, training = [], Training(api, out, (5, "iteration"))
    training.trainer.extend(given)
    training.trainer.extend(plain, trigger=(3, "iteration"))
    training.run()
    return {
        "defaults": [
            plain.trigger,
            plain.default_name,
            plain.priority,
            plain.initialize,
            plain.finalize,
            plain.on_error,
        ],
        "given": [given.trigger, given.default_name, given.priority],
        "the function itself": [plain.__name__, plain.__doc__],
        "names": [training.trainer.get_extension(name).__name__ for name in ("named", "plain")],
        "called": called,
        "an argument that is none": kind_raised(make_extension, when=1),
    }
