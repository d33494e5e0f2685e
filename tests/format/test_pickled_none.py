"""None is read as Chainer stores it, and no other pickle: nothing of one is ever run."""

from __future__ import annotations

import os
import pickle
import struct

import numpy as np
import pytest

from format.archives import described, nodes_of, npy, npz, tree_of, zip_of
from holdfast.errors import UnknownFormatError
from holdfast.format.pickled_none import is_pickled_none
from holdfast.state.tree import Value

NONE = np.array(None, dtype=object)


@pytest.mark.parametrize("compressed", [False, True])
def test_none_is_read_as_chainer_writes_it(compressed):
    file = npz({"a": NONE, "b": np.zeros(2)}, compressed)
    assert nodes_of(file)["a"] == Value("none", None)


def payload(protocol: int, module: bytes = b"numpy._core.multiarray", old_flags: bool = False) -> bytes:
    """numpy's pickle of array(None, dtype=object), as other versions of it write it."""
    found = pickle.dumps(NONE, protocol)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        found = found.replace(b"\x8c" + bytes([len(name)]) + name, b"\x8c" + bytes([len(module)]) + module)
        found = found.replace(b"c" + name + b"\n", b"c" + module + b"\n")
    if old_flags:
        found = found.replace(b"\x89\x88\x87", b"K\x00K\x01\x87")
    return found if protocol < 4 else framed(found)


def framed(found: bytes) -> bytes:
    """The pickle with the right length in its one frame."""
    return found[:3] + struct.pack("<Q", len(found) - 11) + found[11:]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
@pytest.mark.parametrize("old_flags", [False, True])
def test_the_pickle_of_none_is_told_in_every_spelling(protocol, module, old_flags):
    found = payload(protocol, module, old_flags)
    assert is_pickled_none(found)
    assert nodes_of(zip_of({"w.npy": npy(described("|O", ()), found)}))["w"] == Value("none", None)


class Evil:
    """Its pickle makes a directory; its payload is never run."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def changed_payloads() -> dict[str, bytes]:
    good = payload(4)
    return {
        "nothing": b"",
        "cut": good[:-1],
        "more": framed(good + b"."),
        "two": good + good,
        "a wrong frame": good[:3] + b"\1" + good[4:],
        "protocol 0": pickle.dumps(NONE, 0),
        "protocol 1": pickle.dumps(NONE, 1),
        "protocol 6": b"\x80\x06" + good[2:],
        "a number": pickle.dumps(np.array(1, dtype=object), 4),
        "a text": pickle.dumps(np.array("x", dtype=object), 4),
        "a list of none": pickle.dumps(np.array([None], dtype=object), 4),
        "none alone": pickle.dumps(None, 4),
        "another module": payload(4, b"numpy._core.multiarraz"),
        "another global": framed(good.replace(b"_reconstruct", b"_reconstrucs")),
        "another class": good.replace(b"ndarray", b"matrixx"),
        "another dtype": good.replace(b"O8", b"O4"),
        "a hidden call": framed(good[:-1] + b"0cos\ngetcwd\n)R."),
        "an unknown opcode": good[:60] + b"\xff" + good[61:],
        "an escape": payload(2).replace(b"_reconstruct", b"_recon\\estruct"),
        "one byte": b"\x80",
        "garbage": b"\x80\x04" + b"\xff" * 60,
    }


@pytest.mark.parametrize("content", changed_payloads().values(), ids=changed_payloads())
def test_any_other_pickle_is_refused_with_the_name_of_the_member(content):
    assert not is_pickled_none(content)
    with pytest.raises(
        UnknownFormatError, match=r"here: the member 'w\.npy' cannot be read: .*pickle, which holdfast never"
    ):
        tree_of(zip_of({"w.npy": npy(described("|O", ()), content)}))


@pytest.mark.parametrize("shape", [(1,), (0,), (1, 1)])
def test_none_of_another_shape_is_refused(shape):
    with pytest.raises(UnknownFormatError, match="pickle"):
        tree_of(zip_of({"w.npy": npy(described("|O", shape), payload(4))}))


def test_a_pickle_is_never_run(tmp_path):
    trap = tmp_path / "trap"
    evil = np.array(Evil(str(trap)), dtype=object)
    for file in (npz({"w": evil}), npz({"w": np.array([evil, None])})):
        with pytest.raises(UnknownFormatError, match="pickle"):
            tree_of(file)
    assert not trap.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_other_byte_of_the_payload_may_be_another(protocol):
    good = payload(protocol)
    for at in range(len(good)):
        for byte in (0, 255, *(good[at] ^ 1 << bit for bit in range(8))):
            content = good[:at] + bytes([byte]) + good[at + 1 :]
            if is_pickled_none(content):  # the protocol, and numbers in a memo that nothing reads
                assert pickle.loads(good[:2] + content[2:]).item() is None
