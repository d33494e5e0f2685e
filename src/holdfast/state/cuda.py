"""Tensors on CUDA devices into main memory: one crossing of the bus each, and no wait for anything else on the device.

The memory is pinned where it lies, so that the device writes into it directly. The copies go through a stream of their
own, which waits for what the caller's current stream of that device has been given so far. What the caller has put on
other streams must have been joined to it, as for every use of a tensor.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

from holdfast.state.arrays import Bytes

_logger = logging.getLogger("holdfast")


def is_on_cuda(array: Any) -> bool:
    """Whether this is a tensor on a CUDA (or ROCm) device."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor) and bool(array.is_cuda)


class Pin:
    """Memory that CUDA devices may write to directly, until release(), or until this object goes.

    Where the driver refuses (a limit on locked memory), copies go through its own buffers, which takes longer.
    """

    def __init__(self, memory: Bytes) -> None:
        self._address = 0
        self._pid = os.getpid()
        address: int = memory.ctypes.data
        error = int(_runtime().cudaHostRegister(address, memory.nbytes, 0))
        if error:
            _logger.warning(
                "%d bytes of memory could not be pinned for the device (CUDA error %d), and snapshots take longer; "
                "allow more locked memory (ulimit -l)",
                memory.nbytes,
                error,
            )
        else:
            self._address = address

    def release(self) -> None:
        """The memory is ordinary again; must be called before it is given back. Again: nothing."""
        address, self._address = self._address, 0
        if address:
            _runtime().cudaHostUnregister(address)

    def __del__(self) -> None:
        if not sys.is_finalizing() and os.getpid() == self._pid:  # else there is no driver to tell
            self.release()


def _runtime() -> Any:
    return sys.modules["torch"].cuda.cudart()


_streams: dict[Any, Any] = {}
"""A stream for the copies from each device."""


def copy(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Copy tensors on CUDA devices; all are done on return.

    Args:
        pairs: of a tensor over pinned memory, and one of the same dtype and shape on a device.
    """
    torch = sys.modules["torch"]
    by_device: dict[Any, list[tuple[Any, Any]]] = {}
    for target, source in pairs:
        by_device.setdefault(source.device, []).append((target, source))
    done = []
    for device, some in by_device.items():
        stream = _streams.get(device)
        if stream is None:
            stream = _streams[device] = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream), torch.no_grad():
            for target, source in some:
                target.copy_(source.detach(), non_blocking=True)
            done.append(stream.record_event())
    for event in done:  # all devices are under way by now
        event.synchronize()
