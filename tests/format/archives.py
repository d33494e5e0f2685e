"""npz archives made by numpy and by hand, and what the reader makes of them."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np

from holdfast.format import reader
from holdfast.state.tree import Branch, StateTree


def npz(arrays: dict[str, Any], compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def npy(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    text = header if isinstance(header, bytes) else header.encode("utf-8" if version == 3 else "latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def described(descr: Any, shape: Any = (2,), fortran: Any = False) -> str:
    return repr({"descr": descr, "fortran_order": fortran, "shape": shape})


def tree_of(file: bytes) -> StateTree:
    with reader.parse(memoryview(file), "here") as opened:
        assert opened.format == "npz"
        assert opened.metadata() == {}
        return opened.tree()


def nodes_of(file: bytes) -> dict[Any, Any]:
    root = tree_of(file).root
    assert isinstance(root, Branch)
    assert root.kind == "untyped"
    return dict(zip(root.keys, root.children, strict=True))
