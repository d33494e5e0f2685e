"""holdfast.files.restore: every kind of source, what the arguments do, and that an error changes nothing."""

from __future__ import annotations

import copy
import io
import os
import re
import threading

import numpy as np
import pytest

from holdfast import files
from holdfast.errors import CaptureError, DamagedError, MismatchError, NotFoundError, UnknownFormatError
from holdfast.snapshot import Snapshot

STATE = {
    "model": {"weight": np.arange(6.0).reshape(2, 3), "bias": np.arange(3, dtype=np.float32)},
    "optimizer": [np.arange(4), {"rate": 0.1}],
    "step": 7,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot.safetensors"


@pytest.fixture
def saved(path):
    return files.save(path, STATE)


def blank(value=STATE):
    """A target like STATE that holds other values."""
    if isinstance(value, dict):
        return {key: blank(one) for key, one in value.items()}
    if isinstance(value, list):
        return [blank(one) for one in value]
    return np.full_like(value, 77) if isinstance(value, np.ndarray) else type(value)(77)


def flat(value, path=""):
    """Leaves and plain values by their places, as bytes."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {at: one for key, inner in pairs for at, one in flat(inner, f"{path}/{key}").items()}
    return {path: (str(value.dtype), value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value}


def damage(path, needle):
    """Change one byte of the first place that holds these bytes."""
    raw = bytearray(path.read_bytes())
    raw[raw.index(needle)] ^= 1
    path.write_bytes(raw)


# Sources


@pytest.mark.parametrize("kind", ["str", "path", "snapshot", "what load returned"])
def test_a_snapshot_is_put_into_the_arrays_that_the_target_has(saved, path, kind):
    source = {"str": str(path), "path": path, "snapshot": saved, "what load returned": files.load(path)}[kind]
    target = blank()
    weight, rates = target["model"]["weight"], target["optimizer"]
    assert files.restore(source, target) is target
    assert flat(target) == flat(STATE)
    assert target["model"]["weight"] is weight
    assert target["optimizer"] is rates


def test_what_load_returned_may_be_edited_first(saved):
    state = files.load(saved)
    state["model"] = {name: (one + STATE["model"][name]) / 2 for name, one in state["model"].items()}
    state["model"]["bias"] = state["model"]["bias"][::-1]
    del state["optimizer"]
    target = {"model": blank()["model"], "step": 0}
    files.restore({**state, "step": 8}, target)
    assert np.array_equal(target["model"]["weight"], STATE["model"]["weight"])
    assert target["model"]["bias"].tolist() == [2.0, 1.0, 0.0]
    assert target["step"] == 8


def test_a_source_may_hold_arrays_of_the_target(path):
    target = {"old": np.arange(3.0), "new": np.arange(3.0) + 10}
    files.restore({"old": target["new"], "new": target["old"]}, target)
    assert target["old"].tolist() == [10, 11, 12]
    assert target["new"].tolist() == [0, 1, 2]


def test_a_target_can_be_saved_restored_and_saved_as_often_as_one_likes(path, tmp_path):
    files.save(path, STATE)
    target = blank()
    for i in range(3):
        files.restore(path, target)
        files.save(tmp_path / f"{i}", target)
        assert flat(files.load(tmp_path / f"{i}")) == flat(STATE)


def test_a_source_that_is_nothing_of_the_kind_is_refused_and_the_message_says_what_would_do():
    wanted = "the source, a BytesIO, is neither a path, nor a Snapshot, nor a state as load.. returns it"
    with pytest.raises(CaptureError, match=wanted):
        files.restore(io.BytesIO(), {})


def test_restoring_leaves_the_file_alone(saved, path):
    before, stat = path.read_bytes(), path.stat()
    target = files.restore(path, blank())
    target["model"]["weight"] += 1
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert files.verify(path) == saved


READERS = {
    "restore": lambda source: files.restore(source, blank()),
    "load": files.load,
    "verify": files.verify,
    "info": files.info,
}


@pytest.mark.parametrize("read", READERS)
def test_a_directory_is_refused_and_the_message_names_the_store(tmp_path, read):
    wanted = f"{tmp_path}: is a directory, wanted one snapshot file.*SnapshotStore"
    with pytest.raises(UnknownFormatError, match=wanted):
        READERS[read](tmp_path)


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_a_file_not_found_error_with_its_name(tmp_path, read):
    with pytest.raises(FileNotFoundError) as raised:
        READERS[read](tmp_path / "missing")
    assert raised.value.filename == str(tmp_path / "missing")


@pytest.mark.parametrize("read", READERS)
def test_a_snapshot_that_another_one_has_replaced_is_not_taken_for_it(saved, path, read):
    newer = files.save(path, blank())
    with pytest.raises(FileNotFoundError, match="the snapshot was replaced by another one of that name"):
        READERS[read](saved)
    READERS[read](newer)
    READERS[read](path)


def test_a_snapshot_whose_file_became_another_format_is_not_taken_for_it(saved, path):
    with open(path, "wb") as file:
        np.savez(file, step=np.array(1))
    with pytest.raises(FileNotFoundError, match="the snapshot was replaced"):
        files.load(saved)


def test_a_snapshot_is_known_again_after_its_fields_were_written_down(saved):
    fields = {name: getattr(saved, name) for name in Snapshot.__slots__ if not name.startswith("_")}
    assert Snapshot(**fields) == saved
    assert flat(files.load(Snapshot(**fields))) == flat(STATE)


# Arguments


def test_a_part_of_the_snapshot_is_taken_by_its_path(saved, path):
    weight = np.zeros((2, 3))
    assert files.restore(path, weight, subtree="model/weight") is weight
    assert np.array_equal(weight, STATE["model"]["weight"])
    assert files.restore(path, blank()["model"], subtree="model").keys() == STATE["model"].keys()
    assert files.restore(path, {"rate": 0.0}, subtree="optimizer/~i1") == {"rate": 0.1}
    assert files.restore(files.load(path), {"rate": 0.0}, subtree="optimizer/~i1") == {"rate": 0.1}


@pytest.mark.parametrize("read", [files.restore, files.load])
def test_a_part_that_is_not_there_is_an_error_that_names_the_file_and_what_is_there(saved, path, read):
    arguments = (path, {}) if read is files.restore else (path,)
    wanted = f"{path}: there is no 'head' in 'model', which holds 'weight', 'bias'"
    with pytest.raises(NotFoundError, match=re.escape(wanted)):
        read(*arguments, subtree="model/head")


def test_damage_outside_the_part_that_is_taken_does_not_matter(saved, path):
    damage(path, STATE["model"]["bias"].tobytes())
    target = np.zeros((2, 3))
    files.restore(path, target, subtree="model/weight")
    assert np.array_equal(target, STATE["model"]["weight"])
    with pytest.raises(DamagedError, match="'model/bias'"):
        files.restore(path, np.zeros(3, np.float32), subtree="model/bias")


def test_a_snapshot_that_does_not_fit_is_refused_with_all_that_is_wrong_and_changes_nothing(saved, path):
    target = blank()
    target["model"]["head"] = np.full(2, 77.0)
    target["model"]["weight"] = np.full((3, 2), 77.0)
    target["optimizer"][0] = np.full(4, 77, np.int32)
    del target["step"]
    before = flat(copy.deepcopy(target))
    with pytest.raises(MismatchError) as raised:
        files.restore(path, target)
    message = str(raised.value)
    assert message.startswith(f"{path}: the snapshot does not fit the target; nothing was changed")
    assert "missing in the snapshot: 'model/head'" in message
    assert "only in the snapshot: 'step'" in message
    assert "'model/weight' is F64 (2, 3) in the snapshot but F64 (3, 2) in the target" in message
    assert "'optimizer/~i0' is I64 (4,) in the snapshot but I32 (4,) in the target" in message
    assert raised.value.__cause__ is None  # it would be told twice
    assert flat(target) == before


def test_keys_that_only_one_side_has_are_left_alone_where_it_is_not_strict(saved, path):
    target = {"model": {"weight": np.zeros((2, 3)), "head": np.full(2, 77.0)}, "step": 0}
    files.restore(path, target, strict=False)
    assert np.array_equal(target["model"]["weight"], STATE["model"]["weight"])
    assert target["model"]["head"].tolist() == [77, 77]
    assert target.keys() == {"model", "step"}
    assert target["step"] == 7


def test_dtypes_are_converted_as_far_as_casting_allows(saved, path):
    bias = np.zeros(3)
    with pytest.raises(MismatchError, match="casting='no' does not allow it"):
        files.restore(path, bias, subtree="model/bias")
    files.restore(path, bias, subtree="model/bias", casting="safe")
    assert bias.tolist() == [0, 1, 2]
    weight = np.zeros((2, 3), np.float32)
    with pytest.raises(MismatchError, match="casting='safe' does not allow it"):
        files.restore(path, weight, subtree="model/weight", casting="safe")
    files.restore(path, weight, subtree="model/weight", casting="same_kind")
    assert np.array_equal(weight, STATE["model"]["weight"])
    with pytest.raises(ValueError, match=r"casting is 'any', wanted 'no',.*'safe', 'same_kind' or 'unsafe'"):
        files.restore(path, weight, subtree="model/weight", casting="any")


def test_without_verify_damage_in_a_leaf_is_not_found(saved, path):
    damage(path, STATE["model"]["weight"].tobytes())
    target = files.restore(path, blank(), verify=False)
    assert not np.array_equal(target["model"]["weight"], STATE["model"]["weight"])
    assert not np.array_equal(files.load(path, verify=False)["model"]["weight"], STATE["model"]["weight"])
    with pytest.raises(DamagedError, match="'model/weight'"):
        files.restore(path, blank())


@pytest.mark.parametrize("needle", [b'"holdfast.values', b'"holdfast.checksums', b'"model/weight"', b'"reason', b"   "])
def test_without_verify_damage_in_the_header_is_still_found(saved, path, needle):
    target = blank()
    damage(path, needle.replace(b'"reason', rb"\"reason"))
    for read in (lambda: files.restore(path, target, verify=False), lambda: files.load(path, verify=False)):
        with pytest.raises(DamagedError, match=r"the header \(bytes 0-4095\) does not match"):
            read()
    assert flat(target) == flat(blank())


# Targets that change as a whole


def test_what_cannot_change_in_place_comes_back_as_a_new_object(path):
    files.save(path, (1, np.arange(3)))
    target = (0, np.zeros(3, int))
    restored = files.restore(path, target)
    assert restored is not target
    assert restored[0] == 1
    assert restored[1] is target[1]
    assert restored[1].tolist() == [0, 1, 2]


class Fails:
    """An object whose load method fails, after it has changed half of itself."""

    def __init__(self):
        self.values = [1, 1]

    def state_dict(self):
        return {"values": list(self.values)}

    def load_state_dict(self, state):
        self.values[0] = state["values"][0]
        if state["values"][0] == 2:
            raise RuntimeError("half-way")
        self.values[1] = state["values"][1]


def test_a_load_method_that_fails_is_told_with_the_file_and_its_own_error(path):
    files.save(path, {"weight": np.ones(2), "state": {"values": [2, 2]}})
    target = {"weight": np.zeros(2), "state": Fails()}
    with pytest.raises(MismatchError, match=re.escape(f"{path}: 'state'")) as raised:
        files.restore(path, target)
    assert "RuntimeError: half-way" in str(raised.value)
    assert "'state' was put back" in str(raised.value)
    assert type(raised.value.__cause__) is RuntimeError
    assert target["state"].values == [1, 1]
    assert target["weight"].tolist() == [0, 0]


def test_a_target_that_cannot_be_restored_is_refused_and_named(saved, path):
    target = {**blank(), "lock": threading.Lock()}
    before = flat(blank())
    with pytest.raises((CaptureError, MismatchError), match="'lock'"):
        files.restore(path, target)
    del target["lock"]
    assert flat(target) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("read", READERS)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnknownFormatError, match="is no regular file"):
        READERS[read](tmp_path / "pipe")
