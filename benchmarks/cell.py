"""One process of the benchmark: python cell.py KIND ARGUMENTS FILE; run.py starts it.

ARGUMENTS is JSON. Each sample is appended to FILE as a line of JSON as soon as it is there: what was measured before a
contestant brought the process down stays.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

Emit = Callable[[dict[str, Any]], None]


def main(kind: str, arguments: str, file: str) -> None:
    """Run one cell."""
    warnings.simplefilter("ignore")  # of peers, about themselves
    logging.getLogger("absl").setLevel(logging.ERROR)
    args = json.loads(arguments)
    with open(file, "a", encoding="utf-8") as out:

        def emit(sample: dict[str, Any]) -> None:
            out.write(json.dumps(sample) + "\n")
            out.flush()

        _cell(kind)(args, emit)
        emit({"what": "end"})


def _cell(kind: str) -> Callable[[dict[str, Any], Emit], None]:
    if kind == "save":
        import saving

        return saving.run
    if kind == "loop":
        import loop

        return loop.run
    if kind == "memory":
        import peak

        return peak.run
    import growth

    cells: dict[str, Callable[[dict[str, Any], Emit], None]] = {
        "first": growth.first, "bytes": growth.by_bytes, "leaves": growth.by_leaves, "moment": growth.moment
    }  # fmt: skip
    return cells[kind]


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # a peer's thread that waits for ever must not keep this process
