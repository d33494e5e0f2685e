"""The names of a snapshot extension's files: made from the trainer, and recognised again."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable
from typing import Any, Union

from holdfast.storage.base import check_name
from holdfast.training.extensions.snapshot_hosts import Fields

Template = Union[str, "os.PathLike[str]", Callable[[Any], str]]

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"


class Filename:
    """How the files are named.

    Args:
        template: a format string applied to the trainer as its one positional argument, such as
            "snapshot_iter_{.updater.iteration}"; or a function of the trainer. Either may name a sub-directory.
    Raises:
        TypeError: it is neither.
        ValueError: the format string cannot be parsed, asks for another argument, or leads out of the trainer's folder.
    """

    def __init__(self, template: Template) -> None:
        self.template: str | None  # None where a function makes the names
        if isinstance(template, str | os.PathLike):
            self.template = os.fspath(template)
            self._check(self.template)
        elif callable(template):
            self.template = None
        else:
            raise TypeError(f"filename must be a format string or a function of the trainer, not {template!r}")
        self._make = template

    @property
    def depth(self) -> int:
        """How many components the names have."""
        return 1 if self.template is None else self.template.count("/") + 1

    @property
    def suffix(self) -> str:
        """What the names end in: ".npz", or "" for none."""
        return "" if self.template is None else os.path.splitext(self.template)[1]

    def of(self, trainer: Any) -> str:
        """The name for the trainer as it is now.

        Raises:
            TypeError: the function did not return a str.
            AttributeError: the trainer has no such attribute.
            ValueError: the name leads out of the trainer's folder, or is one that holdfast keeps for its own files.
        """
        if self.template is not None:
            name = self.template.format(Fields(trainer))
        else:
            assert callable(self._make)
            name = self._make(trainer)
            if not isinstance(name, str):
                raise TypeError(f"filename, a function, returned {name!r}; want the name of a file, a str")
        check_name(name)
        return name

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """What stands in the fields of a name; None where it is no name of this template, or a field is no number."""
        if self.template is None:
            return None
        found = self._pattern().fullmatch(name)
        return None if found is None else tuple(float(number) for number in found.groups())

    def _pattern(self) -> re.Pattern[str]:
        assert self.template is not None
        parts = string.Formatter().parse(self.template)
        return re.compile("".join(re.escape(text) + ("" if field is None else _NUMBER) for text, field, _, _ in parts))

    @staticmethod
    def _check(template: str) -> None:
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        except ValueError as error:
            raise ValueError(f"filename {template!r} is no format string: {error}") from None
        for field in fields:
            root = re.split(r"[.\[]", field, maxsplit=1)[0]
            if root not in ("", "0"):
                raise ValueError(
                    f"filename {template!r} asks for {root!r}; its one argument is the trainer: {{.updater.iteration}}"
                )
        parts = template.split("/")
        if os.path.isabs(template) or not {"", ".", ".."}.isdisjoint(parts) or "\0" in template:
            raise ValueError(
                f"filename {template!r} must be a name inside the trainer's folder: relative, without '..', and no "
                "part of it empty"
            )
