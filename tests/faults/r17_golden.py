"""R17: old files load for ever.

The golden files of every version of the format, and of Chainer's, are never made again. The whole ones are read value
by value. Others are these with a byte changed, or cut off, at places that this module names: what is said of each
must name the header, or the leaf in which the place lies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faults.campaigns import Outcome
from faults.r07_damage import complaint
from format.handmade import described
from golden import make_chainer_files, make_golden, version_1
from holdfast import HoldfastError, files
from holdfast.errors import DamagedError
from holdfast.format import reader
from holdfast.format.prefix import facts_to_json
from holdfast.serializers import load_hdf5

EVERY = 97  # bytes between two places of a golden file that are damaged


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """Every golden file, whatever the count."""
    return judged(("numpy", "torch"))


def judged(frameworks: Sequence[str]) -> Outcome:
    """Every golden file, and an array of one in each of these."""
    bad = [*_whole(frameworks), *_of_chainer()]
    tried = 1 + len(_expected())
    content = make_golden.PATH.read_bytes()
    for at in range(0, len(content), EVERY):
        tried += 1
        if wrong := complaint(_said(_flipped(content, at)), lambda start, end, at=at: start <= at <= end):
            bad.append(f"version 1, byte {at} changed: {wrong}")
    for size in (0, 7, 100, 4095, 4096, len(content) // 2, len(content) - 1):
        tried += 1
        if "the header" not in (said := _said(content[:size])):
            bad.append(f"version 1, cut off at {size}: {said}")
    return Outcome(tried, tuple(bad))


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes((content[at] ^ 0x10,)) + content[at + 1 :]


def _said(content: bytes) -> str:
    try:
        with reader.parse(memoryview(content), "golden") as file:
            file.verify()
    except DamagedError as error:
        return str(error)
    return "accepted"


def _whole(frameworks: Sequence[str]) -> list[str]:
    """What is wrong with the golden file of version 1 as this holdfast reads it."""
    with reader.open_file(make_golden.PATH) as file:
        file.verify()
        found = {
            "its facts": file.facts is not None and facts_to_json(file.facts) == facts_to_json(version_1.FACTS),
            "its metadata": file.metadata() == version_1.METADATA,
            "its tree": described(file.tree()) == described(version_1.every_kind()),
        }
    for framework in frameworks:
        loaded = files.load(make_golden.PATH, framework=framework, subtree="arrays/float32")
        found[f"an array in {framework}"] = np.asarray(loaded).reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]
    return [f"version 1: {what} came back otherwise" for what, same in found.items() if not same]


def _expected() -> dict[str, Any]:
    text = (make_chainer_files.FOLDER / "expected.json").read_text(encoding="utf-8")
    expected: dict[str, Any] = json.loads(text)
    return expected


def _of_chainer() -> list[str]:
    """What is wrong with Chainer's files."""
    bad = []
    for name, wanted in _expected().items():
        try:
            found = _arrays(make_chainer_files.FOLDER / name, wanted)
        except HoldfastError as error:
            bad.append(f"Chainer's {name}: {error}")
            continue
        bad += [f"Chainer's {name}: {key} came back otherwise" for key in wanted if found[key] != wanted[key]]
    return bad


def _arrays(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    if path.suffix == ".h5":
        target = {
            key: None if saved is None else np.zeros(np.shape(saved[1]), saved[0]) for key, saved in wanted.items()
        }
        load_hdf5(path, _Flat(target))
        found: dict[str, Any] = target
    else:
        found = files.load(path)
    return {key: None if array is None else [array.dtype.str, array.tolist()] for key, array in found.items()}


class _Flat:
    """An object that asks a serializer for some arrays by their whole names."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._arrays = arrays

    def serialize(self, serializer: Any) -> None:
        for key in self._arrays:
            *above, last = key.split("/")
            part = serializer
            for one in above:
                part = part[one]
            self._arrays[key] = part(last, self._arrays[key])
