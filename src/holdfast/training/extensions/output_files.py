"""Files that an extension writes into the trainer's folder: how they are named, and that each is there wholly or not at
all."""

from __future__ import annotations

import contextlib
import os
import re
import string
import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

COUNTED = ("epoch", "iteration")


def counts(trainer: Trainer) -> dict[str, int]:
    """Where a training is, by the names in COUNTED: finished epochs, where some are counted, and finished updates."""
    found = {name: getattr(trainer.updater, name, None) for name in COUNTED}
    return {name: count for name, count in found.items() if count is not None}


@contextlib.contextmanager
def replacing(out: str | os.PathLike[str], name: str) -> Iterator[str]:
    """Gives a path to write to; what was written there takes the place of the file `name` in `out` when the block ends.

    Where the block fails, the older file stays. Nothing is synced: a power cut may bring it back.

    Args:
        name: may lead into a sub-folder, which is made.
    """
    folder, last = os.path.split(os.path.join(out, name))
    os.makedirs(folder, exist_ok=True)
    partial = os.path.join(folder, f".{last}.partial")  # the same each time: a killed run leaves one at most
    try:
        yield partial
        os.replace(partial, os.path.join(folder, last))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def figure_name(owner: str, filename: str | None, file_name: str | None, default: str, fields: Collection[str]) -> str:
    """The name that an extension was given for its figure, as `filename` or, as Chainer once had it, as `file_name`.

    Args:
        owner: the extension's class, for messages. Its `__init__` calls this: a warning points at who calls that.
        default: the name where neither was given.
        fields: the names that it may hold in braces.

    Raises:
        TypeError: both were given, or what was given is no str.
        ValueError: it is no name of a file, or has other fields.
    """
    if file_name is not None:
        if filename is not None:
            raise TypeError(f"{owner}: filename and its old name file_name were both given; give filename")
        warnings.warn(f"{owner}: file_name is deprecated; use filename", DeprecationWarning, stacklevel=3)
        filename = file_name
    if filename is None:
        return default
    for field in fields_of(owner, filename):
        if field not in fields:
            raise ValueError(
                f"{owner}: filename {filename!r} asks for {field!r}; there is {', '.join(map(repr, fields))}"
            )
    return filename


def fields_of(owner: str, filename: str) -> list[str]:
    """The names that stand in braces in `filename`, a format string.

    Raises:
        TypeError: it is no str.
        ValueError: it is no format string, a field has no name, or it is no name of a file.
    """
    if not isinstance(filename, str):
        raise TypeError(f"{owner}: filename must be a str such as 'plots/loss.png', not {filename!r}")
    if not os.path.basename(filename):
        raise ValueError(f"{owner}: filename {filename!r} must end in the name of a file")
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(filename) if field is not None]
    except ValueError as error:
        raise ValueError(f"{owner}: filename {filename!r} is no format string: {error}") from None
    names = [re.split(r"[.\[]", field, maxsplit=1)[0] for field in fields]
    if any(not name or name.isdigit() for name in names):
        raise ValueError(f"{owner}: the fields of filename {filename!r} are filled by name, such as {{iteration}}")
    return names
