"""holdfast's peers, each called as its documents say, and in the best way found where there are several.

"PPE" is pytorch-pfn-extras. Its threads and queues write the caller's own tensors, without a copy of them: what they
save changes when training goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import contestants
from contestants import Finish
from states import State, flattened


def nothing() -> None:
    """What is left to wait for after a synchronous save."""


def copy_back(state: State, loaded: Any) -> None:
    """Copy loaded tensors into the state's own."""
    found = dict(flattened(loaded))
    targets = state.flat()
    with torch.no_grad():
        torch._foreach_copy_(list(targets.values()), [found[name] for name in targets])


class Peer:
    """What most of them have in common."""

    durable = False
    suffix = ".pt"
    name = ""

    def save(self, state: State, path: Path) -> Finish:
        raise NotImplementedError

    def restore(self, state: State, path: Path) -> None:
        copy_back(state, torch.load(path, weights_only=True))

    def close(self) -> None:
        pass


class TorchSave(Peer):
    def save(self, state: State, path: Path) -> Finish:
        torch.save(state.tree(), path)
        return nothing


class Safetensors(Peer):
    suffix = ".safetensors"

    def save(self, state: State, path: Path) -> Finish:
        from safetensors.torch import save_file

        save_file(state.flat(), path)
        return nothing

    def restore(self, state: State, path: Path) -> None:
        from safetensors.torch import load_file

        found = load_file(path)
        targets = state.flat()
        with torch.no_grad():
            torch._foreach_copy_(list(targets.values()), [found[name] for name in targets])


class Savez(Peer):
    suffix = ".npz"

    def save(self, state: State, path: Path) -> Finish:
        import numpy as np

        np.savez(path, **{name: tensor.numpy() for name, tensor in _detached(state)})
        return nothing

    def restore(self, state: State, path: Path) -> None:
        import numpy as np

        with np.load(path) as found, torch.no_grad():
            for name, tensor in _detached(state):
                tensor.copy_(torch.from_numpy(found[name]))


def _detached(state: State) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, tensor.detach()) for name, tensor in state.flat().items())


class Dcp(Peer):
    """torch.distributed.checkpoint.async_save; `threads` and a stager that is kept, where it is tuned."""

    suffix = ""

    def __init__(self, threads: int = 0) -> None:
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

        self._threads = threads
        self._stager = DefaultStager(StagingOptions(False, False, False, False)) if threads else None

    def save(self, state: State, path: Path) -> Finish:
        from torch.distributed import checkpoint

        if self._stager is None:
            saved: Any = checkpoint.async_save(state.tree(), checkpoint_id=path)
        else:
            writer = checkpoint.FileSystemWriter(path, thread_count=self._threads)
            saved = checkpoint.async_save(state.tree(), storage_writer=writer, async_stager=self._stager)
        wait: Finish = getattr(saved, "upload_completion", saved).result
        return wait

    def restore(self, state: State, path: Path) -> None:
        from torch.distributed import checkpoint

        tree = state.tree()
        checkpoint.load(tree, checkpoint_id=path)

    def close(self) -> None:
        if self._stager is not None:
            self._stager.close()


class Torchsnapshot(Peer):
    suffix = ""

    def save(self, state: State, path: Path) -> Finish:
        from torchsnapshot import Snapshot, StateDict

        wait: Finish = Snapshot.async_take(str(path), {"state": StateDict(**state.tree())}).wait
        return wait

    def restore(self, state: State, path: Path) -> None:
        from torchsnapshot import Snapshot, StateDict

        Snapshot(str(path)).restore({"state": StateDict(**state.tree())})


class Lightning(Peer):
    """AsyncCheckpointIO around Lightning's own TorchCheckpointIO, which is made to say when it is done."""

    def __init__(self) -> None:
        from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

        self._done = threading.Event()
        done = self._done

        class Telling(TorchCheckpointIO):  # type: ignore[misc]
            def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
                try:
                    super().save_checkpoint(*args, **kwargs)
                finally:
                    done.set()

        self._io = AsyncCheckpointIO(Telling())

    def save(self, state: State, path: Path) -> Finish:
        self._done.clear()
        self._io.save_checkpoint(state.tree(), path)
        return self._done.wait

    def close(self) -> None:
        self._io.teardown()


class Orbax(Peer):
    """AsyncCheckpointer with the same tensors as jax arrays on the CPU, converted once."""

    suffix = ""

    def __init__(self) -> None:
        import orbax.checkpoint

        self._orbax = orbax.checkpoint
        self._checkpointer = self._orbax.AsyncCheckpointer(self._orbax.StandardCheckpointHandler())
        self._arrays: tuple[State, dict[str, Any]] | None = None

    def ready(self, state: State) -> None:
        """Make the jax arrays of a state, once."""
        import jax
        import jax.numpy as jnp

        if self._arrays is None or self._arrays[0] is not state:
            arrays = {name: jnp.array(tensor.numpy(), copy=True) for name, tensor in _detached(state)}
            self._arrays = (state, jax.block_until_ready(arrays))

    def save(self, state: State, path: Path) -> Finish:
        assert self._arrays is not None, "ready() comes first"
        self._checkpointer.save(path, args=self._orbax.args.StandardSave(self._arrays[1]))
        wait: Finish = self._checkpointer.wait_until_finished
        return wait

    def restore(self, state: State, path: Path) -> None:
        """Into new jax arrays: they cannot change in place."""
        import jax

        assert self._arrays is not None, "ready() comes first"
        shapes = {
            name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for name, a in self._arrays[1].items()
        }
        jax.block_until_ready(self._checkpointer.restore(path, args=self._orbax.args.StandardRestore(shapes)))

    def close(self) -> None:
        self._checkpointer.close()


class Extras(Peer):
    """A writer of pytorch-pfn-extras, with torch.save as its savefun, as is its default."""

    def __init__(self, kind: str, folder: Path) -> None:
        from pytorch_pfn_extras import writing

        self._writer: Any = getattr(writing, kind)(out_dir=str(folder))

    def save(self, state: State, path: Path) -> Finish:
        self._writer(str(path), "", state.tree())  # queues know no folder
        queue, worker = getattr(self._writer, "_queue", None), getattr(self._writer, "_worker", None)
        if queue is not None:
            wait: Finish = queue.join
            return wait
        return nothing if worker is None else worker.join

    def close(self) -> None:
        self._writer.finalize()


def make(name: str, folder: Path) -> Peer:
    """One of contestants.PEERS."""
    makers: Mapping[str, Callable[[], Peer]] = {
        "torch.save": TorchSave,
        "safetensors": Safetensors,
        "numpy.savez": Savez,
        contestants.SHIPPED: Dcp,
        contestants.TUNED: lambda: Dcp(threads=2),
        contestants.TORCHSNAPSHOT: Torchsnapshot,
        contestants.LIGHTNING: Lightning,
        contestants.ORBAX: Orbax,
        "PPE Simple": lambda: Extras("SimpleWriter", folder),
        "PPE Thread": lambda: Extras("ThreadWriter", folder),
        "PPE Process": lambda: Extras("ProcessWriter", folder),
        "PPE ThreadQueue": lambda: Extras("ThreadQueueWriter", folder),
        "PPE ProcessQueue": lambda: Extras("ProcessQueueWriter", folder),
    }
    peer = makers[name]()
    peer.name = name
    return peer
