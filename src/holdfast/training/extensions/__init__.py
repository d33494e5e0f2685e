"""Extensions that come with holdfast: what a trainer can call beside its updates."""

from __future__ import annotations

from holdfast.training.extensions.log_report import LogReport
from holdfast.training.extensions.print_report import PrintReport
from holdfast.training.extensions.progress_bar import ProgressBar
from holdfast.training.extensions.snapshot import snapshot, snapshot_object

__all__ = ["LogReport", "PrintReport", "ProgressBar", "snapshot", "snapshot_object"]
