"""The arena: what it holds is the state at the moment of the call, whatever becomes of the target."""

from __future__ import annotations

import errno
import mmap
import os
import random

import numpy as np
import pytest

from holdfast import files
from holdfast.errors import CaptureError, StagingError
from holdfast.staging import Arena, Planner
from holdfast.state.capture import capture
from holdfast.state.tree import Array, Branch, Leaf, StateTree
from holdfast.storage.local import LocalStorage
from snapshots import put

# The state at the moment of the call


def written(staged, path):
    """What a reader finds once a staged state is committed."""
    storage = LocalStorage(path)
    return files.load(put(storage, "model", staged, files.new_facts("model")))


def stage(target):
    return Arena().stage(capture(target))


def test_numpy_arrays_and_plain_values_are_those_of_the_call(tmp_path):
    weight, strided = np.arange(6.0).reshape(2, 3), np.arange(10)[::3]
    target = {"weight": weight, "strided": strided, "losses": [0.5], "long": list(range(1000)), "name": "x" * 999}
    staged = stage(target)
    weight += 1
    strided[...] = 0
    target["losses"].append(9.0)
    target["long"][:] = [0]
    target["more"] = 1
    found = written(staged, tmp_path)
    assert np.array_equal(found["weight"], np.arange(6.0).reshape(2, 3))
    assert found["strided"].tolist() == [0, 3, 6, 9]
    assert found["losses"] == [0.5]
    assert found["long"] == list(range(1000))
    assert found["name"] == "x" * 999
    assert "more" not in found


def test_random_generators_are_those_of_the_call(tmp_path):
    generators = {"numpy": np.random.default_rng(1), "python": random.Random(2), "old": np.random.RandomState(3)}
    staged = stage(generators)
    wanted = [generators["numpy"].random(), generators["python"].random(), generators["old"].random_sample()]
    found = written(staged, tmp_path)
    assert [found["numpy"].random(), found["python"].random(), found["old"].random_sample()] == wanted


def test_tensors_are_those_of_the_call_however_they_change(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.arange(4.0) for name in ("in place", "data", "alias", "dlpack")}
    scalar = torch.tensor(3)
    staged = stage({**tensors, "scalar": scalar, "conj": torch.tensor([1 + 2j]).conj()})
    tensors["in place"].mul_(2)
    tensors["data"].data.fill_(7)
    tensors["alias"].numpy()[...] = 7
    np.from_dlpack(tensors["dlpack"])[...] = 7
    scalar += 1
    found = written(staged, tmp_path)
    assert [found[name].tolist() for name in tensors] == [[0, 1, 2, 3]] * 4
    assert found["scalar"] == 3
    assert found["conj"].tolist() == [1 - 2j]


def test_numpy_arrays_over_the_memory_of_tensors_are_those_of_the_call(tmp_path):
    torch = pytest.importorskip("torch")
    tensor = torch.arange(4.0)
    staged = stage({"alias": tensor.numpy(), "same": tensor})
    tensor += 1
    found = written(staged, tmp_path)
    assert found["alias"].tolist() == found["same"].tolist() == [0, 1, 2, 3]


def flat(state, path=()):
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {at: one for key, inner in pairs for at, one in flat(inner, (*path, key)).items()}
    return {path: state.tolist() if hasattr(state, "tolist") else state}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_model_and_its_optimizer_are_those_of_the_call(tmp_path, name, fused):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    more = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1, fused=fused, **more)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def step():
        optimizer.zero_grad()
        model(torch.randn(16, 4)).square().sum().backward()
        optimizer.step()
        scheduler.step()

    step()
    target = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    wanted = flat({key: one.state_dict() for key, one in target.items()})
    staged = stage(target)
    step()
    changed = flat({key: one.state_dict() for key, one in target.items()})
    found = flat(written(staged, tmp_path))
    assert {at for at in wanted if wanted[at] != changed[at]} >= {  # the test is one only if they did change
        ("model", "0.weight"),
        ("model", "1.running_mean"),
        ("model", "1.num_batches_tracked"),
        ("optimizer", "state", 0, "exp_avg" if name == "Adam" else "momentum_buffer"),
        ("optimizer", "param_groups", 0, "lr"),
        ("scheduler", "last_epoch"),
    }
    assert name != "Adam" or wanted["optimizer", "state", 0, "step"] == 1
    assert {at: (found[at], one) for at, one in wanted.items() if found[at] != one} == {}


def test_jax_arrays_are_those_of_the_call_though_they_are_donated(tmp_path):
    jax = pytest.importorskip("jax")
    weight = jax.numpy.arange(1 << 16, dtype=jax.numpy.float32)
    key = jax.random.key(3)
    step = jax.jit(lambda weight: weight * 0 - 1, donate_argnums=0)
    jax.block_until_ready(weight)
    staged = stage({"weight": weight, "key": key})
    address = weight.unsafe_buffer_pointer()
    after = step(weight)
    assert weight.is_deleted()
    assert after.unsafe_buffer_pointer() == address  # staging holds no view: donation used the memory again
    found = written(staged, tmp_path)
    assert np.array_equal(found["weight"], np.arange(1 << 16))
    assert jax.random.key_data(found["key"]).tolist() == jax.random.key_data(key).tolist()


def test_arrays_that_jax_made_of_numpy_memory_are_those_of_the_call(tmp_path):
    jax = pytest.importorskip("jax")
    memory = np.arange(1 << 12, dtype=np.float32)
    staged = stage({"weight": jax.device_put(memory)})
    memory[...] = 7
    assert np.array_equal(written(staged, tmp_path)["weight"], np.arange(1 << 12))


# What it looks like


def test_the_arena_is_the_data_part_of_the_file_byte_for_byte(tmp_path):
    target = {"b": np.arange(3, dtype=np.uint8), "a": np.arange(4.0), "c": np.asfortranarray(np.eye(3, 2, k=1))}
    staged = stage(target)
    files.save(tmp_path / "model", target)
    assert (tmp_path / "model").read_bytes()[-len(staged.data) :] == staged.data.tobytes()
    by_path = {slot.path: staged.data[slot.offset : slot.offset + slot.nbytes] for slot in staged.layout.slots}
    assert {path: bytes(one) for path, one in by_path.items()} == {path: one.tobytes() for path, one in target.items()}
    assert by_path["c"].tolist() == target["c"].copy("C").reshape(-1).view(np.uint8).tolist()


def test_a_target_without_arrays_has_no_data(tmp_path):
    staged = stage({"step": 1})
    assert staged.data.size == 0
    assert written(staged, tmp_path) == {"step": 1}


def test_metadata_longer_than_the_arena_has_room_for_is_kept_all_the_same(tmp_path):
    for shared in (False, True):
        staged = Arena(shared=shared).stage(capture({"a": np.arange(1000)}))
        metadata = {"log": "x" * 2_000_000}
        snapshot = put(LocalStorage(tmp_path), "model", staged, files.new_facts("model"), metadata)
        assert snapshot.metadata == metadata
        assert files.load(snapshot)["a"].tolist() == list(range(1000))


def test_a_tree_that_no_file_can_hold_is_refused():
    leaf = Leaf("elsewhere", "F64", (2,), 16, np.zeros(2))
    with pytest.raises(CaptureError, match="the target cannot be kept: the leaf 'elsewhere' stands at 'a'"):
        Arena().stage(StateTree(Branch("dict", ("a",), (Array(leaf, "numpy"),))))


# Memory


def address(staged):
    return staged.data.__array_interface__["data"][0]


def test_memory_is_used_again_and_starts_at_a_page():
    arena = Arena()
    first = arena.stage(capture({"a": np.arange(100_000)}))
    where = address(first)
    assert where % mmap.PAGESIZE == 0
    for size in (100_000, 50, 100_300):  # a state that grows a little stays where it is
        staged = arena.stage(capture({"a": np.arange(size)}))
        assert address(staged) == where
        assert staged.data.view(np.int64).tolist() == list(range(size))
    assert arena.stage(capture({"a": np.zeros(10)})).data.nbytes == 80


def test_memory_grows_with_the_state_and_the_old_is_given_back(monkeypatch):
    asked = []
    real = mmap.mmap

    class Counted(real):
        living = 0

        def __new__(cls, *arguments, **named):
            asked.append((arguments[1], cls.living))
            cls.living += 1
            return real.__new__(cls, *arguments, **named)

        def __del__(self):
            Counted.living -= 1

    monkeypatch.setattr(mmap, "mmap", Counted)
    arena = Arena()
    for size in (1000, 100_000, 1_000_000):
        arena.stage(capture({"a": np.zeros(size, np.uint8)}))
        assert Counted.living == 1
    assert len(asked) == 3
    assert [living for _, living in asked] == [0, 0, 0]  # never two at a time
    del arena
    assert Counted.living == 0


def test_a_state_over_the_budget_is_refused_with_both_numbers_and_one_at_it_is_taken():
    arena = Arena(budget_bytes=1000)
    with pytest.raises(StagingError, match="takes 1001 bytes, and budget_bytes allows 1000; raise budget_bytes"):
        arena.stage(capture({"a": np.zeros(1001, np.uint8)}))
    with pytest.raises(MemoryError):  # what a caller may expect
        arena.stage(capture({"a": np.zeros(1001, np.uint8)}))
    assert arena.stage(capture({"a": np.ones(1000, np.uint8)})).data.tobytes() == b"\1" * 1000


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError(), OverflowError("big")]
)
def test_no_memory_is_a_staging_error_and_nothing_is_written(tmp_path, monkeypatch, error):
    files.save(tmp_path / "model", {"a": np.zeros(500)})
    before = (tmp_path / "model").read_bytes()

    def refuse(*arguments, **named):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", refuse)
        with pytest.raises(StagingError, match="there is no memory for a copy of the state, which takes 8000 bytes"):
            files.save(tmp_path / "model", {"a": np.ones(1000)})
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_an_arena_that_could_not_grow_serves_again(monkeypatch):
    arena = Arena()
    arena.stage(capture({"a": np.arange(10)}))
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", lambda *arguments, **named: np.empty(-1))
        with pytest.raises(StagingError):
            arena.stage(capture({"a": np.arange(10_000)}))
    assert arena.stage(capture({"a": np.arange(10)})).data.view(np.int64).tolist() == list(range(10))


def test_where_the_kernel_has_no_huge_pages_staging_works_all_the_same(monkeypatch):
    class Plain(mmap.mmap):
        def madvise(self, *arguments):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Plain)
    assert stage({"a": np.arange(10)}).data.view(np.int64).tolist() == list(range(10))


FORKS = """
import os
import numpy as np
from holdfast.staging import Arena
from holdfast.state.capture import capture

arena = Arena()
staged = arena.stage(capture({"a": np.arange(1000)}))
child = os.fork()
if child == 0:
    arena.stage(capture({"a": np.zeros(1000, int)}))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(np.array_equal(staged.data.view(int), np.arange(1000)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_what_a_forked_child_stages_does_not_reach_its_parent(program):
    assert program(FORKS).end().splitlines() == ["True"]


def test_memory_that_was_lost_meanwhile_is_taken_anew():
    """A restore reads through the arena's memory, and may find that there is not enough of it."""
    arena, planner, target = Arena(), Planner(), {"w": np.arange(4.0)}
    arena.stage(planner.read(target))
    with pytest.raises((OSError, ValueError, OverflowError)):
        arena.memory.grow(1 << 62)
    assert arena.memory.size_bytes == 0
    staged = arena.stage(planner.read(target))
    assert np.array_equal(staged.data.view(np.float64), target["w"])
