"""PrintReport: the rows of a LogReport as a table that grows while the training runs."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import Extension
from holdfast.training.extensions.log_report import LogReport
from holdfast.training.extensions.terminal import write_line

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

LEAST_WIDTH = 10  # characters of a column


class PrintReport(Extension):
    """Prints the rows of a log, a line each, under a line of names. A resumed run prints the earlier rows again first.

    Register it after its LogReport: a row is then printed in the iteration that made it.

    Args:
        entries: the names of the columns; where a row has no such value, its place stays empty.
        log_report: the name of a LogReport that is registered too; or a LogReport that is not, which is then called by
            this extension.
        out: a stream; None is standard output, as it is when printing. A ProgressBar on the same terminal stays below.

    Raises:
        TypeError: `entries` is one string, or `log_report` is neither of these.
    """

    def __init__(self, entries: Sequence[str], log_report: str | LogReport = "LogReport", out: Any = None) -> None:
        if isinstance(entries, str):
            raise TypeError(f"PrintReport: entries must be a list of names: [{entries!r}], not {entries!r}")
        if not isinstance(log_report, str | LogReport):
            raise TypeError(
                f"PrintReport: log_report must be a LogReport or the name of one, not {type(log_report).__name__}"
            )
        self._columns = [(entry, max(LEAST_WIDTH, len(entry))) for entry in entries]
        self._log_report = log_report
        self._out = out
        self._header_is_due = True
        self._log_len = 0  # rows already printed

    def initialize(self, trainer: Trainer) -> None:
        """Initialize the LogReport, if it is this extension's own."""
        if isinstance(self._log_report, LogReport):
            self._log_report.initialize(trainer)

    def __call__(self, trainer: Trainer) -> None:
        """Print the rows that are new.

        Raises:
            ValueError: no LogReport of that name is registered.
        """
        if self._header_is_due:
            write_line(self._out, "  ".join(f"{entry:{width}}" for entry, width in self._columns))
            self._header_is_due = False
        log = self._updated_log(trainer)
        for row in log[self._log_len :]:
            write_line(self._out, "".join(self._cell(row, entry, width) for entry, width in self._columns))
        self._log_len = len(log)

    def serialize(self, serializer: Any) -> None:
        """Save or restore the LogReport, if it is this extension's own."""
        if isinstance(self._log_report, LogReport):
            self._log_report.serialize(serializer["_log_report"])

    def _updated_log(self, trainer: Trainer) -> list[dict[str, Any]]:
        if isinstance(self._log_report, LogReport):
            self._log_report(trainer)
            return self._log_report.log
        log: list[dict[str, Any]] = trainer.get_extension(self._log_report).log
        return log

    @staticmethod
    def _cell(row: dict[str, Any], entry: str, width: int) -> str:
        value = row.get(entry)
        if value is None:
            return " " * (width + 2)
        if isinstance(value, numbers.Real):
            return f"{value:<{width}g}  "
        return f"{value!s:<{width}}  "
