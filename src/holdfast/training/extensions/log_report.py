"""LogReport: the means of what was reported, a row at a time, in memory, in the snapshot and in a JSON file.

The rows belong to the state. The file is only their image: it is written anew with each row and when a run is resumed,
so that rows which a killed run wrote after its last snapshot do not stay in it.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import Extension
from holdfast.training.extensions.intervals import Means
from holdfast.training.extensions.output_files import counts, fields_of, replacing

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class LogReport(Extension):
    """Takes in what is reported in each iteration, and makes a row of the means whenever `trigger` fires.

    A row also has `epoch` (finished epochs; left out where the iterator counts none), `iteration` (finished updates)
    and `elapsed_time` (seconds of training). A resumed run gives the same rows, bit for bit, but for `elapsed_time`.
    At iteration 0 (with `call_before_training`) there is a row whatever `trigger` says.

    Args:
        keys: the names of the values to take in; all by default.
        trigger: when to make a row: a trigger, or a pair such as (1, "epoch"). It is not the one that `extend` takes,
            by which values are taken in: in every iteration, unless `extend` is told otherwise.
        postprocess: called with each new row, a dict, which it may change.
        filename: the file in the trainer's `out` that holds all rows: as a JSON array, or, where the name ends in
            ".jsonl", as a JSON object on a line each. It may hold fields that are filled from the newest row:
            "log_{iteration}" makes a file of its own for each. None: no file.
        log_name: deprecated; means `filename`.

    Raises:
        TypeError: `keys` is one string, `trigger` is none, or both `filename` and `log_name` were given.
        ValueError: the trigger's period or unit is not one, or `filename` is no name.
    """

    def __init__(
        self,
        keys: Iterable[str] | None = None,
        trigger: Any = (1, "epoch"),
        postprocess: Callable[[dict[str, Any]], None] | None = None,
        filename: str | None = "log",
        *,
        log_name: str | EllipsisType | None = ...,
    ) -> None:
        if isinstance(keys, str):
            raise TypeError(f"LogReport: keys must be a list of names: [{keys!r}], not {keys!r}")
        if not isinstance(log_name, EllipsisType):
            if filename != "log":
                raise TypeError("LogReport: filename and its old name log_name were both given; give filename")
            warnings.warn("LogReport: log_name is deprecated; use filename", DeprecationWarning, stacklevel=2)
            filename = log_name
        self._keys = None if keys is None else list(keys)
        self._means = Means("LogReport", trigger, kept_by_chainer=True)
        self._postprocess = postprocess
        self._filename = filename
        self._fields = [] if filename is None else fields_of("LogReport", filename)
        self._log: list[dict[str, Any]] = []

    @property
    def log(self) -> list[dict[str, Any]]:
        """The rows so far, oldest first."""
        return self._log

    def initialize(self, trainer: Trainer) -> None:
        """Write the rows that were restored over what a killed run left; also where there are none yet."""
        self._means.initialize(trainer)
        if self._log or (trainer.updater.iteration > 0 and self._is_there(trainer.out)):
            self._write(trainer.out)

    def __call__(self, trainer: Trainer) -> None:
        """Take in the values of this iteration; make a row if it is time.

        Raises:
            TypeError: `postprocess` left something in the row that JSON has no word for.
        """
        observation = trainer.observation
        if self._keys is not None:
            observation = {key: observation[key] for key in self._keys if key in observation}
        self._means.add(observation)
        if trainer.updater.iteration == 0 or self._means.ends(trainer):
            self._log.append(self._row(trainer, self._means.take().compute_mean()))
            self._write(trainer.out)

    def serialize(self, serializer: Any) -> None:
        """Save or restore the rows and what was taken in since the last one, with Chainer's keys."""
        self._means.serialize(serializer)
        self._log = json.loads(serializer("_log", json.dumps(self._log)))

    def _row(self, trainer: Trainer, means: dict[str, float]) -> dict[str, Any]:
        row: dict[str, Any] = {**means, **counts(trainer), "elapsed_time": trainer.elapsed_time}
        if self._postprocess is not None:
            self._postprocess(row)
        try:
            # as it will be read again, so that a row is the same before and after a resume
            return json.loads(json.dumps(row))  # type: ignore[no-any-return]
        except TypeError as error:
            raise TypeError(
                f"LogReport: the row of iteration {trainer.updater.iteration} cannot be written as JSON ({error}); "
                "postprocess may leave numbers, strings, None, lists and dicts in it"
            ) from error

    def _is_there(self, out: str | os.PathLike[str]) -> bool:
        """Whether there is a file that a first row would replace."""
        if self._filename is None or self._fields:
            return False
        return os.path.exists(os.path.join(out, self._filename.format()))

    def _write(self, out: str | os.PathLike[str]) -> None:
        """Write all rows, wholly or not at all. A power cut may undo it; `initialize` then does it again."""
        if self._filename is None:
            return
        name = self._filename.format(**(self._log[-1] if self._log else {}))
        with replacing(out, name) as path, open(path, "w", encoding="utf-8") as file:
            if name.endswith(".jsonl"):
                file.writelines(json.dumps(row) + "\n" for row in self._log)
            else:
                json.dump(self._log, file, indent=4)
