"""The format strings that names of snapshots are made with: which are equal, and which names they can make."""

from __future__ import annotations

import os
import re
from string import Formatter

from holdfast.storage.base import check_name

ERROR_SUFFIX = ".error"  # of a snapshot that was taken on an error, where a good one has the name
PIN_SUFFIX = ".holdfast-pin"

_EXAMPLE = "snapshot_{step:08d}.safetensors"
_PROBES = (0, 7, 2**63 - 1)  # steps that a template must keep apart
_FLOATS = frozenset({"epoch_detail", "previous_epoch_detail", "elapsed_time"})
"""Chainer's attributes that are no whole numbers."""


def same_template(one: str, other: str) -> bool:
    """Whether two format strings are equal once format specs and conversions are dropped; "{.a}" is "{0.a}"."""
    try:
        return one == other or _parts(one) == _parts(other)
    except ValueError:  # no format string
        return False


def template_pattern(template: str) -> re.Pattern[str]:
    """What matches, wholly, the names that a format string can make of numbers; one group for each field.

    Fields are decimal digits, with a decimal point where the field's format spec or attribute is that of a float.

    Raises:
        ValueError: `template` is no format string.
    """
    found = [
        re.escape(literal) + ("" if field is None else _number(field, spec))
        for literal, field, spec, _ in Formatter().parse(template)
    ]
    return re.compile("".join(found))


def check_step_template(template: str) -> str:
    """A format string for the names of a store's files, as it is: its only field is `step`.

    Raises:
        TypeError: it is no str.
        ValueError: it is no such format string, leads out of the store, or cannot tell steps apart.
    """
    if not isinstance(template, str):
        raise TypeError(f"filename must be a str such as {_EXAMPLE!r}, not {template!r}")
    try:
        fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
        if fields != {"step"}:
            raise ValueError(f"its only field must be 'step', and it has {', '.join(sorted(fields)) or 'none'}")
        pattern = template_pattern(template)
        for step in _PROBES:
            name = template.format(step=step)
            check_name(name)
            os.fsencode(name)  # raises UnicodeEncodeError, a ValueError, where it can be no name of a file
            found = pattern.fullmatch(name)
            if found is None or any(digits != str(step).zfill(len(digits)) for digits in found.groups()):
                raise ValueError(f"it makes {name!r} of step {step}, which must stand there in decimal digits")
            if name.endswith((ERROR_SUFFIX, PIN_SUFFIX)):
                raise ValueError(f"names that end with {ERROR_SUFFIX!r} or {PIN_SUFFIX!r} have a meaning of their own")
    except (ValueError, LookupError) as error:
        raise ValueError(f"filename is {template!r}, wanted a format string such as {_EXAMPLE!r}: {error}") from None
    return template


def depth_of(template: str) -> int:
    """How many components the names have that a format string makes.

    Raises:
        ValueError: `template` is no format string.
    """
    return 1 + sum(literal.count("/") for literal, _ in _parts(template))


def pin_name(name: str) -> str:
    """The name of the small file that pins the snapshot of a name."""
    above, slash, last = name.rpartition("/")
    return f"{above}{slash}.{last}{PIN_SUFFIX}"


def pinned_by(name: str) -> str | None:
    """The name of the snapshot that a file pins; None where the file is no pin."""
    above, slash, last = name.rpartition("/")
    if last.startswith(".") and last.endswith(PIN_SUFFIX):
        return f"{above}{slash}{last[1:].removesuffix(PIN_SUFFIX)}"
    return None


def _number(field: str, spec: str | None) -> str:
    is_float = (spec or "")[-1:] in {*"eEfFgG%"} or field.rpartition(".")[2] in _FLOATS
    return r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?%?)" if is_float else r"([0-9]+)"


def _parts(template: str) -> list[tuple[str, str | None]]:
    """Literal texts, each with the field that follows it."""
    parts: list[tuple[str, str | None]] = []
    text = ""
    for literal, field, _, _ in Formatter().parse(template):
        text += literal
        if field is not None:
            parts.append((text, f"0{field}" if field[:1] in ("", ".", "[") else field))
            text = ""
    return [*parts, (text, None)]
