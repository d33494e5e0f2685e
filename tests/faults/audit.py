"""Python's audit hook as a watch: which code, programs, sockets and modules a block of a test reaches for."""

from __future__ import annotations

import sys
from typing import Any

FORBIDDEN = tuple(
    "pickle.find_class exec compile os.system os.exec os.posix_spawn os.spawn subprocess. socket. import ctypes.dlopen "
    "marshal.loads code.__new__ function.__new__".split()
)
"""How the names of events begin that loading a file must not cause."""


class Watch:
    """Notes forbidden events while it is entered. Its hook stays to the process's end, as all do."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False
        sys.addaudithook(self._look)

    def __enter__(self) -> Watch:
        self._on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._on and event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.80}")
