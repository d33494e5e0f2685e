"""A small training whose reported values a test gives, and what its PlotReport draws."""

from __future__ import annotations

from holdfast import reporter
from holdfast.training import Trainer, make_extension
from training.fakes import CountingUpdater
from training.serializers import restored


def run(out, *extensions, iterations=4, resume_from=None, before_training=False):
    trainer = Trainer(CountingUpdater(4), (iterations, "iteration"), out=out)
    for extension in extensions:
        trainer.extend(extension, call_before_training=before_training)
    if resume_from is not None:
        restored(resume_from, trainer)
    trainer.run(show_loop_exception_msg=False)
    return trainer


def reporting(**functions):
    """An extension that reports values: names to functions of the iteration; nothing where one gives None."""

    @make_extension(priority=300)
    def values(trainer):
        found = {name.replace("__", "/"): function(trainer.updater.iteration) for name, function in functions.items()}
        reporter.report({name: value for name, value in found.items() if value is not None})

    return values


class Looking:
    """A postprocess that keeps the last figure and axes, and what every picture so far showed."""

    def __init__(self):
        self.pictures = []

    def __call__(self, figure, axes, summary):
        self.figure, self.axes, self.summary = figure, axes, summary
        self.pictures.append({line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()})

    @property
    def legend(self):
        return [text.get_text() for legend in self.figure.legends for text in legend.get_texts()]
