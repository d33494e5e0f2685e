"""What stands in for calls that a platform lacks."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.storage import syscalls


def test_what_stands_in_for_positioned_calls_reads_and_writes_the_same(tmp_path, monkeypatch):
    source = Path(syscalls.__file__).read_text()
    monkeypatch.delattr(os, "pwrite")
    namespace = {"__name__": "syscalls_without_pwrite"}
    exec(compile(source, "syscalls.py", "exec"), namespace)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert namespace["pwrite"](fd, memoryview(b"world"), 6) == 5
        assert namespace["pwrite"](fd, memoryview(b"hello "), 0) == 6
        assert namespace["pread"](fd, 5, 6) == b"world"
        assert namespace["pread"](fd, 99, 9) == b"ld"
        assert namespace["pread"](fd, 5, 11) == b""
    finally:
        os.close(fd)
