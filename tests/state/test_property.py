"""Whatever is saved comes back bit for bit, into another target of the same structure, of every supported type."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings

from holdfast import files
from holdfast.format import reader
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from snapshots import file_of as written
from state.array_strategies import Pair
from state.same import as_loaded, bits
from state.strategies import pairs

EXAMPLES = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


def file_of(target: Any) -> reader.SnapshotFile:
    """A snapshot of `target` in memory."""
    return reader.parse(memoryview(written(Arena().stage(capture(target)), files.new_facts("it"))), "it")


@settings(EXAMPLES, max_examples=1000)
@given(pairs())
def test_a_restored_target_has_the_same_types_and_the_same_bits_as_the_saved_one(pair: Pair):
    saved = bits(pair.saved)
    with file_of(pair.saved) as file:
        file.verify()
        assert bits(restore(file.tree(), pair.fresh)) == saved
    assert bits(pair.saved) == saved


@settings(EXAMPLES, max_examples=200)
@given(pairs())
def test_load_gives_the_same_values_without_a_target(pair: Pair):
    with file_of(pair.saved) as file:
        assert bits(load(file.tree())) == bits(as_loaded(pair.saved))


@settings(EXAMPLES, max_examples=100)
@given(pairs(absent=False))  # to nothing load gives arrays of numpy
def test_what_load_gave_can_be_restored(pair: Pair):
    with file_of(pair.saved) as file:
        loaded = load(file.tree())
    assert bits(restore(capture(loaded), pair.fresh)) == bits(pair.saved)


def test_the_same_holds_through_files(tmp_path):
    path = tmp_path / "it.safetensors"

    @settings(EXAMPLES, max_examples=200)
    @given(pairs())
    def check(pair: Pair) -> None:
        files.save(path, pair.saved)
        saved = bits(pair.saved)
        assert bits(files.load(path)) == bits(as_loaded(pair.saved))
        assert bits(files.restore(path, pair.fresh)) == saved

    check()
