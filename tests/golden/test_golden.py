"""Files of released format versions are read for ever, and are never made again."""

from __future__ import annotations

import hashlib

import pytest
import safetensors

from format import stranger
from format.handmade import described
from golden import make_golden, version_1
from holdfast.format import reader
from holdfast.format.prefix import facts_to_json

SHA256 = "b7a175e0a05b87c9615a43fe41356aa7c9af63bc361fc78baecaad533ca94acd"


def test_the_golden_file_is_the_one_that_was_made():
    assert hashlib.sha256(make_golden.PATH.read_bytes()).hexdigest() == SHA256


def test_the_golden_file_is_read_whole():
    with reader.open_file(make_golden.PATH) as file:
        file.verify()
        assert file.facts is not None
        assert facts_to_json(file.facts) == facts_to_json(version_1.FACTS)
        assert file.metadata() == version_1.METADATA
        assert described(file.tree()) == described(version_1.every_kind())


def test_the_golden_file_is_listed():
    found = reader.info(make_golden.PATH)
    assert (found.step, found.reason, found.created_at) == (7, "trigger", version_1.FACTS.created_at)
    assert found.metadata == version_1.METADATA


def test_the_golden_file_opens_as_plain_safetensors():
    with safetensors.safe_open(make_golden.PATH, "numpy") as file:
        assert file.get_tensor("arrays/float32").tolist() == [0, 1, 2, 3, 4, 5]
        assert set(file.keys()) == {leaf.path for leaf in version_1.every_kind().leaves()}


def test_the_golden_file_is_read_by_the_stranger():
    found = stranger.read(make_golden.PATH.read_bytes())
    assert found.metadata == version_1.METADATA
    assert found.root["values"]["big"] == -(1 << 200)
    assert found.root["packed"]["json"] == list(range(300))
    assert found.reserved["seed"] == 1


def test_a_golden_file_that_exists_is_never_written_again(tmp_path):
    path = tmp_path / "golden"
    make_golden.make(path)
    first = path.read_bytes()
    with pytest.raises(FileExistsError):
        make_golden.make(path)
    assert path.read_bytes() == first


def test_the_comparison_finds_a_changed_byte_in_the_golden_file():
    content = bytearray(make_golden.PATH.read_bytes())
    content[-1] ^= 1
    with reader.parse(memoryview(content), "here") as file:
        assert described(file.tree()) != described(version_1.every_kind())
