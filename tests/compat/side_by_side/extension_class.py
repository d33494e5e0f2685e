"""The Extension class: what it has by itself, and what a subclass may leave out."""

from __future__ import annotations

from compat.side_by_side.support import Training, kind_raised

DIFFERS = {
    # A subclass that is only there for its hooks need not define a call.
    "a class without a call": ["NotImplementedError", None],
}


def main(api, out):
    class Hooks(api.training.Extension):
        def initialize(self, trainer):
            seen.append(trainer.updater.iteration)

    class Epochs(api.training.Extension):
        trigger = (1, "epoch")
        priority = api.training.PRIORITY_WRITER

        def __call__(self, trainer):
            seen.append(trainer.updater.epoch)

    seen, extension = [], Hooks()
    training = Training(api, out, (2, "epoch"))
    training.trainer.extend(Epochs())
    training.run()
    hooked = Training(api, out, (1, "iteration"))
    hooked.trainer.extend(extension)
    return {
        "attributes": [extension.trigger, extension.priority, extension.default_name, Epochs().name],
        "hooks": [Epochs().initialize(None), Epochs().finalize(), Epochs().on_error(None, None, None)],
        "state": Epochs().serialize(None),
        "called": list(seen),
        "an attribute that is none": kind_raised(lambda: extension.nothing_of_the_kind),
        "a class without a call": kind_raised(hooked.run),
    }
