"""Extensions that come with holdfast: what a trainer can call beside its updates."""

from __future__ import annotations

from holdfast.training.extensions import snapshot_writers
from holdfast.training.extensions.evaluator import Evaluator
from holdfast.training.extensions.exponential_shift import ExponentialShift
from holdfast.training.extensions.fail_on_non_number import FailOnNonNumber
from holdfast.training.extensions.inverse_shift import InverseShift
from holdfast.training.extensions.linear_shift import LinearShift
from holdfast.training.extensions.log_report import LogReport
from holdfast.training.extensions.micro_average import MicroAverage
from holdfast.training.extensions.multistep_shift import MultistepShift
from holdfast.training.extensions.parameter_statistics import ParameterStatistics
from holdfast.training.extensions.plot_report import PlotReport
from holdfast.training.extensions.polynomial_shift import PolynomialShift
from holdfast.training.extensions.print_report import PrintReport
from holdfast.training.extensions.progress_bar import ProgressBar
from holdfast.training.extensions.snapshot import snapshot, snapshot_object
from holdfast.training.extensions.step_shift import StepShift
from holdfast.training.extensions.value_observation import observe_lr, observe_value
from holdfast.training.extensions.variable_statistics_plot import VariableStatisticsPlot
from holdfast.training.extensions.warmup_shift import WarmupShift

__all__ = [
    "Evaluator",
    "ExponentialShift",
    "FailOnNonNumber",
    "InverseShift",
    "LinearShift",
    "LogReport",
    "MicroAverage",
    "MultistepShift",
    "ParameterStatistics",
    "PlotReport",
    "PolynomialShift",
    "PrintReport",
    "ProgressBar",
    "StepShift",
    "VariableStatisticsPlot",
    "WarmupShift",
    "observe_lr",
    "observe_value",
    "snapshot",
    "snapshot_object",
    "snapshot_writers",
]
