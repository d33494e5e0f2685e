"""The first 4 KiB of a snapshot file: what makes it one, its two sums, and its facts. docs/format.md, "The prefix".

All that a listing needs stands here and is covered by a sum of its own, so that reading 4 KiB of a file is enough to
show it. Both sums stand at the same place in every version of the format.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import xxhash

from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format.sums import FACTS_AT, FACTS_SUM, HEADER_SUM, LITERAL, PAGE, PREFIX, VERSION, VERSION_AT
from holdfast.snapshot import Json
from holdfast.state.encoding import dumps, loads

MAX_HEADER = 64 << 20  # bytes, length prefix included
_OWN_PART = b'holdfast":"'  # of LITERAL; the rest stands in other safetensors files too
_OWN_KEYS = (b'{"holdfast":"1 ', b',"holdfast.metadata":"', b',"holdfast.values":"', b',"holdfast.tree":"')

_TO_QUOTE = re.compile(rb'[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*(?=")')
_HEX_FLOAT = re.compile(r"[0-9a-f]{16}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00")


@dataclass(slots=True)  # not frozen: the training waits while it is made, and that takes longer
class Facts:
    """What is known of a snapshot without reading its tree; holdfast.snapshot.Snapshot says what each means."""

    step: int | None
    epoch: float | None
    metrics: Mapping[str, float]
    reason: str
    created_at: datetime  # with a time zone
    run_id: str
    sequence: int
    role: str
    template: str
    name: str
    library: str


def facts_to_json(facts: Facts) -> dict[str, Json]:
    """The facts, fit for JSON.

    Raises:
        ValueError: a fact is of the wrong type, or the time is not in UTC.
    """
    if facts.created_at.utcoffset() != timedelta(0):
        raise ValueError(f"created_at is {facts.created_at!r}, wanted a time in UTC")
    spec = {
        "step": facts.step,
        "epoch": None if facts.epoch is None else _float_to_json(facts.epoch),
        "metrics": {name: _float_to_json(value) for name, value in facts.metrics.items()},
        "reason": facts.reason,
        "created_at": facts.created_at.isoformat(timespec="microseconds"),
        "run_id": facts.run_id,
        "sequence": facts.sequence,
        "role": facts.role,
        "template": facts.template,
        "name": facts.name,
        "library": facts.library,
    }
    facts_from_json(spec)  # what could not be read again must not be written
    return spec


def facts_from_json(spec: Json) -> Facts:
    """The facts that `facts_to_json` was given; further keys are left alone.

    Raises:
        ValueError: a fact is missing or is of the wrong type.
    """
    if type(spec) is not dict:
        raise ValueError("the facts are not an object")
    for name, wanted in _TYPES.items():
        if type(spec.get(name, ())) not in wanted:
            raise ValueError(f"the fact {name!r} is {spec.get(name, 'missing')!r:.80}")
    if not all(type(name) is str for name in spec["metrics"]):
        raise ValueError(f"the metrics {list(spec['metrics'])!r:.80} have names that are no str")
    if not _TIME.fullmatch(spec["created_at"]):
        raise ValueError(f"the time is {spec['created_at']!r:.80}, wanted one as 2030-12-31T23:59:59.999999+00:00")
    created_at = datetime.fromisoformat(spec["created_at"])
    return Facts(
        step=spec["step"],
        epoch=None if spec["epoch"] is None else _float_from_json(spec["epoch"]),
        metrics={name: _float_from_json(value) for name, value in spec["metrics"].items()},
        reason=spec["reason"],
        created_at=created_at,
        run_id=spec["run_id"],
        sequence=spec["sequence"],
        role=spec["role"],
        template=spec["template"],
        name=spec["name"],
        library=spec["library"],
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "step": (int, type(None)),
    "epoch": (float, str, type(None)),
    "metrics": (dict,),
    "sequence": (int,),
    **dict.fromkeys(("reason", "created_at", "run_id", "role", "template", "name", "library"), (str,)),
}


def _float_to_json(value: float) -> float | str:
    """A float where JSON has it, else its bits."""
    value = float(value)
    return value if math.isfinite(value) else struct.pack(">d", value).hex()


def _float_from_json(spec: Json) -> float:
    if type(spec) is float:
        return spec
    if type(spec) is str and _HEX_FLOAT.fullmatch(spec):
        return float(struct.unpack(">d", bytes.fromhex(spec))[0])
    raise ValueError(f"a number is {spec!r:.80}")


def facts_text(facts: Facts, size_bytes: int) -> bytes:
    """The facts as they stand in the file, between the space after their sum and the closing quote.

    Raises:
        ValueError: they do not fit the first 4 KiB; names the longest.
    """
    spec = {**facts_to_json(facts), "size_bytes": size_bytes}
    text = dumps(spec)
    if loads(text) != spec:
        raise ValueError(f"the facts of {facts.name!r} hold text that JSON would change (two surrogates in a row)")
    escaped = json.dumps(text)[1:-1].encode("ascii")
    room = PAGE - FACTS_AT - 1
    if len(escaped) > room:
        lengths = {name: len(dumps(value)) for name, value in spec.items()}
        longest = max(lengths, key=lambda name: lengths[name])
        raise ValueError(
            f"the facts of the snapshot {facts.name[:80]!r} take {len(escaped)} bytes of {room}, "
            f"most of them its {longest!r} ({lengths[longest]}); put what is long into the metadata, which may be"
        )
    return escaped


def facts_sum(head: bytes, text: bytes) -> bytes:
    """16 hex digits over everything before the header's sum (39 bytes) and the facts' text."""
    return xxhash.xxh3_64_hexdigest(head[: HEADER_SUM.start] + text).encode("ascii")


def is_snapshot(page: bytes) -> bool:
    """Whether a file that begins like this is a snapshot file, whole or not."""
    found = page[PREFIX.size : VERSION_AT]
    return found == LITERAL[: len(found)] and len(page) > PREFIX.size


def resembles_snapshot(page: bytes) -> bool:
    """Whether a file that begins like this may have been a snapshot file before some of its bytes changed.

    Zeroes alone count: a file whose size reached the disk, but none of its blocks.
    """
    found = page[VERSION_AT - len(_OWN_PART) : VERSION_AT]
    same = sum(a == b for a, b in zip(found, _OWN_PART, strict=False))
    return same >= 3 * len(_OWN_PART) // 4 or any(key in page for key in _OWN_KEYS) or not page.strip(b"\0")


def header_damage(where: str, header_bytes: int, what: str) -> DamagedError:
    """The error for a header that is not whole."""
    return DamagedError(
        f"{where}: the header (bytes 0-{header_bytes - 1}) {what}; the file is damaged, use an older snapshot"
    )


def header_length(page: bytes, size_bytes: int, where: str) -> int:
    """How many bytes of a snapshot file are its header, length prefix included.

    Args:
        page: the first PAGE bytes of the file, fewer only where it is shorter.
    Raises:
        DamagedError: the length cannot be right.
    """
    found = min(size_bytes, len(page))
    if found < PAGE:
        raise header_damage(where, PAGE, f"is cut off: the file has {found} bytes, every snapshot file at least {PAGE}")
    length = PREFIX.size + int(PREFIX.unpack_from(page)[0])
    if length > MAX_HEADER or length % PAGE:
        raise header_damage(where, PAGE, f"gives its own length as {length}, no multiple of {PAGE} up to {MAX_HEADER}")
    if length > size_bytes:
        raise header_damage(where, length, f"is cut off: the file has {size_bytes} bytes")
    return length


def read_facts(first_page: bytes, size_bytes: int, where: str) -> Facts:
    """The facts of a snapshot file, checked against their sum and against the file's size.

    Args:
        first_page: the first 4096 bytes of the file, fewer only where it is shorter.
        size_bytes: of the whole file, as its directory says.
        where: what messages call the file.
    Raises:
        DamagedError: a sum or the size does not match.
        UnknownFormatError: it is no snapshot file, or of a newer version.
    """
    if not is_snapshot(first_page):
        if size_bytes < 2 * PREFIX.size:
            header_length(first_page, size_bytes, where)  # raises: it is cut off
        if resembles_snapshot(first_page):
            raise header_damage(where, PAGE, "does not begin as a snapshot file's does")
        raise UnknownFormatError(f"{where}: is no snapshot file, so there are no facts and no checksums to read in it")
    length = header_length(first_page, size_bytes, where)
    head, text = check_facts(first_page, length, where)
    check_version(head, where)

    def damage(what: str) -> DamagedError:
        return header_damage(where, length, what)

    return parse_facts(text, size_bytes, damage)


def check_facts(page: bytes, length: int, where: str) -> tuple[bytes, bytes]:
    """What stands before the facts, and their text.

    Raises:
        DamagedError: they do not match their sum.
    """
    found = _TO_QUOTE.match(page, FACTS_AT, PAGE)
    text = found.group() if found else b""
    if not found or page[FACTS_SUM] != facts_sum(page, text):
        raise header_damage(where, length, "does not match the checksum of its facts")
    return page[:FACTS_AT], text


def check_version(head: bytes, where: str) -> None:
    """Raises UnknownFormatError for a file of another version than this reader's."""
    found = head[VERSION_AT : VERSION_AT + 1]
    if found != VERSION:
        raise UnknownFormatError(
            f"{where}: is of version {found.decode('latin-1')!r} of the format, this holdfast reads version "
            f"{VERSION.decode()!r}; upgrade holdfast"
        )


def parse_facts(text: bytes, size_bytes: int, damage: Callable[[str], Exception]) -> Facts:
    """The facts of a text whose sum is right."""
    try:
        spec: Any = loads(loads(b'"' + text + b'"'))
        facts = facts_from_json(spec)
        wanted = spec.get("size_bytes")
    except ValueError as error:
        raise damage(f"holds no facts: {error}") from None
    if type(wanted) is not int or wanted != size_bytes:
        raise damage(f"says that the file has {wanted} bytes, but it has {size_bytes}")
    return facts
