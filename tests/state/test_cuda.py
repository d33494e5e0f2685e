"""Tensors on devices: the order of the steps that make a copy right, and, where there is a device, the copy itself."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.state import cuda
from holdfast.state.arrays import address_of
from holdfast.state.copying import Copier

torch = pytest.importorskip("torch")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


class Driver:
    """Stands for torch.cuda where there is no device: notes what it is asked for, in order."""

    def __init__(self, refuses: int = 0) -> None:
        self.calls: list[str] = []
        self.refuses = refuses
        self.pinned: dict[int, int] = {}

    def cudart(self) -> Driver:
        return self

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        if not self.refuses:
            self.pinned[address] = size
        return self.refuses

    def cudaHostUnregister(self, address: int) -> int:
        del self.pinned[address]
        return 0

    def current_stream(self, device: Any) -> str:
        return f"current stream of {device}"

    def Stream(self, device: Any) -> Stream:
        return Stream(self, device)

    @contextmanager
    def stream(self, stream: Stream):
        self.calls.append(f"enter {stream.device}")
        yield
        self.calls.append(f"leave {stream.device}")


class Stream:
    def __init__(self, driver: Driver, device: Any) -> None:
        self.driver, self.device = driver, device

    def wait_stream(self, other: str) -> None:
        self.driver.calls.append(f"wait for the {other}")

    def record_event(self) -> Stream:
        self.driver.calls.append(f"record {self.device}")
        return self

    def synchronize(self) -> None:
        self.driver.calls.append(f"synchronize {self.device}")


class Far:
    """A tensor that says it lies on a device."""

    def __init__(self, driver: Driver, device: str, value: Any) -> None:
        self.driver, self.device, self.value = driver, device, value

    def detach(self) -> Any:
        self.driver.calls.append(f"read from {self.device}")
        return self.value


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(torch, "cuda", made)
    monkeypatch.setattr(cuda, "_streams", {})
    return made


def test_copies_wait_for_the_current_stream_and_are_waited_for_and_nothing_else_is(driver):
    targets = [torch.zeros(3) for _ in range(3)]
    places = ("cuda:0", "cuda:1", "cuda:0")
    sources = [Far(driver, where, torch.full((3,), float(number))) for number, where in enumerate(places)]
    cuda.copy(zip(targets, sources, strict=True))
    assert [target.tolist() for target in targets] == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert driver.calls == [
        "wait for the current stream of cuda:0",
        "enter cuda:0",
        "read from cuda:0",
        "read from cuda:0",
        "record cuda:0",
        "leave cuda:0",
        "wait for the current stream of cuda:1",
        "enter cuda:1",
        "read from cuda:1",
        "record cuda:1",
        "leave cuda:1",
        "synchronize cuda:0",
        "synchronize cuda:1",
    ]


def test_memory_is_pinned_until_it_is_released(driver):
    memory = np.zeros(8192, np.uint8)
    pin = cuda.Pin(memory)
    assert driver.pinned == {memory.ctypes.data: 8192}
    pin.release()
    pin.release()
    assert driver.pinned == {}
    pin = cuda.Pin(memory)
    del pin
    assert driver.pinned == {}


def test_memory_that_cannot_be_pinned_is_said_and_used_all_the_same(driver, caplog):
    driver.refuses = 2
    cuda.Pin(np.zeros(4096, np.uint8)).release()
    assert "4096 bytes of memory could not be pinned for the device (CUDA error 2)" in caplog.text


def test_a_copier_pins_once_and_copies_what_is_far_into_its_place(driver, monkeypatch):
    monkeypatch.setattr(cuda, "is_on_cuda", lambda array: array.device.type == "meta")
    monkeypatch.setattr(cuda, "copy", lambda pairs: [target.fill_(7) for target, _ in pairs])
    memory = np.zeros(64, np.uint8)
    copier = Copier(memory, [(0, 16), (16, 12)], [("near", "F32", (4,)), ("far", "F32", (3,))])
    found = [torch.ones(4), torch.empty(3, device="meta")]
    for _ in range(2):
        copier.copy(found, [address_of(found[0]), 0])
    assert memory[:28].view(np.float32).tolist() == [1.0] * 4 + [7.0] * 3
    assert driver.pinned == {memory.ctypes.data: 64}
    del copier
    assert driver.pinned == {}


# On a device


@on_a_gpu
def test_a_state_on_a_device_comes_back_bit_for_bit_while_the_next_step_runs(tmp_path):
    model = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(8)]).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    target = {"model": model, "optimizer": optimizer, "strided": torch.arange(100.0, device="cuda")[::3]}
    wanted = []
    with holdfast.SnapshotStore(tmp_path) as store:
        for step in range(5):
            model(torch.randn(64, 512, device="cuda")).square().mean().backward()
            optimizer.step()
            store.save(step, target)
            wanted.append([parameter.detach().clone() for parameter in model.parameters()])
    for step in range(5):
        holdfast.restore(tmp_path / f"snapshot_{step:08d}.safetensors", target)
        for parameter, one in zip(model.parameters(), wanted[step], strict=True):
            assert torch.equal(parameter, one)


@on_a_gpu
def test_a_snapshot_takes_little_longer_than_one_pinned_copy(tmp_path):
    state = {str(number): torch.rand(16 << 20, device="cuda") for number in range(16)}  # 1 GiB
    pinned = torch.empty(16 << 20, pin_memory=True)
    ratios = []
    with holdfast.SnapshotStore(tmp_path) as store:
        store.save(0, state).result()
        for step in range(1, 8):
            torch.cuda.synchronize()
            began = time.perf_counter()
            for tensor in state.values():
                pinned.copy_(tensor, non_blocking=True)
            torch.cuda.synchronize()
            floor = time.perf_counter() - began
            ratios.append(store.save(step, state).stall_s / floor)
            store.wait()
    assert sorted(ratios)[3] <= 1.2, ratios
