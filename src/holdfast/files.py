"""One snapshot file: save, restore, load, verify, info.

`save` returns when the file is durable. `restore` verifies every checksum and compares every leaf before it changes
anything. Nothing here runs code from a file.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import import_module
from typing import Any, TypeVar

from holdfast._version import __version__
from holdfast.commit import commit
from holdfast.errors import (
    CaptureError,
    CommitError,
    DamagedError,
    MismatchError,
    NotFoundError,
    UnknownFormatError,
)
from holdfast.format import header, reader
from holdfast.format.prefix import Facts
from holdfast.format.reader import SnapshotFile, as_snapshot
from holdfast.memory import Memory
from holdfast.scarcity import as_memory_error
from holdfast.snapshot import Json, Snapshot
from holdfast.staging import Arena
from holdfast.state import lookup
from holdfast.state.capture import capture
from holdfast.state.encoding import collector_paused
from holdfast.state.load import Framework
from holdfast.state.load import load as load_tree
from holdfast.state.loading import detached
from holdfast.state.restore import restore as restore_tree
from holdfast.state.tree import StateTree
from holdfast.storage.local import LocalStorage
from holdfast.storage.local_upload import failing

T = TypeVar("T")
Path = str | os.PathLike[str]


@as_memory_error
def save(path: Path, target: object, *, metadata: Mapping[str, Json] | None = None) -> Snapshot:
    """Write the state of `target` into one file: durable when this returns, and whole or not there at all.

    Args:
        path: the file; a file of that name is replaced in one step, its directory is made where there is none.
        target: a module, an optimizer, an array, or dicts, lists, dataclasses, ... of such; docs/design.md, "State".
        metadata: JSON values to keep with it under str keys; `Snapshot.metadata` gives them back.
    Returns:
        What is known of the snapshot.
    Raises:
        CaptureError: something in `target` cannot be kept; names its path. Nothing was written.
        CommitError: the file could not be made durable; an older one of that name is as it was, unless the message says
            that the outcome is unknown.
        StagingError: there is no memory for a copy of the state.
        ValueError: `metadata` is no JSON.
    """
    location, name = _place(path)
    checked = header.check_metadata({} if metadata is None else metadata)
    staged = Arena().stage(capture(target))
    facts = new_facts(name)
    placed = staged.image(facts, checked)
    with failing(os.path.join(location, name), placed.size_bytes, "its directory could not be made"):
        storage = LocalStorage(location)
    commit(storage, name, placed.image)
    return as_snapshot(facts, storage.location, name, placed.size_bytes)


@as_memory_error
def restore(
    source: Any,
    target: T,
    *,
    subtree: str = "",
    strict: bool = True,
    casting: str = "no",
    verify: bool = True,
) -> T:
    """Put a snapshot into `target`: wholly, or not at all.

    Args:
        source: the path of a snapshot file, of a plain safetensors file or of an npz file; a Snapshot; or what `load`
            returned, changed as you like.
        target: what can change in place does: arrays, tensors, modules, optimizers, dicts, lists. Arrays take the
            target's framework, device and sharding; a jax.ShapeDtypeStruct is a place for a jax array.
        subtree: the part of the snapshot to take, as a path of names joined by "/".
        strict: keys that only one side has are an error; with False the target keeps what the snapshot lacks.
        casting: what numpy's casting rules may convert where dtypes differ: "no", "safe", "same_kind" or "unsafe".
        verify: compare the leaves with their checksums first; with False damage is not found.
    Returns:
        `target`, or a new object where it cannot change in place (jax arrays, tuples, frozen dataclasses).
    Raises:
        MismatchError: the snapshot does not fit; lists what is missing, unexpected and different; nothing was changed.
            Or a load method of the target failed, and the message says of each object what became of it.
        DamagedError: the file is not what was written; names the leaf and its byte range, or the header.
        UnknownFormatError: it is of no format that holdfast reads.
        NotFoundError: there is no such `subtree`.
        FileNotFoundError: there is no such file, or it is not the one that the Snapshot tells of any more.
    """
    return _restore(source, target, subtree, strict, casting, verify, None)


@as_memory_error
def restore_through(room: Memory | None, source: Path, target: T, *, strict: bool = True) -> T:
    """As restore, with memory to read through where the file must come from the disk.

    Args:
        room: grows where it is too small, and is touched as far as the file reaches; None: some is taken, and given
            back. Where the file is in the page cache, it is left alone.
    """
    return _restore(source, target, "", strict, "no", True, room)


def _restore(source: Any, target: T, subtree: str, strict: bool, casting: str, verify: bool, room: Memory | None) -> T:
    restored: T
    if not isinstance(source, str | bytes | os.PathLike):
        tree = _part(_captured(source), subtree)
        restored = restore_tree(tree, target, strict=strict, casting=casting)
        return restored
    with collector_paused(), opened(source, whole=verify, room=room) as file, _Naming(file.where):
        tree = _part(file.tree(), subtree)
        if verify:
            file.verify(tree.leaves() if subtree else None)
        restored = restore_tree(tree, target, strict=strict, casting=casting)
        return restored


@as_memory_error
def load(
    source: Path,
    *,
    subtree: str = "",
    framework: Framework = "numpy",
    device: Any = None,
    verify: bool = True,
) -> Any:
    """Read a snapshot without a target: nested dicts, lists and tuples.

    Args:
        source: the path of a snapshot file, a plain safetensors file or an npz file; or a Snapshot.
        subtree: the part to read, as a path of names joined by "/".
        framework: of the arrays. "numpy": read-only views of the mapped file; "torch": tensors over a private mapping,
            which may be written to without changing the file, or on `device`; "jax": jax arrays.
        device: where torch or jax are to put them; None: main memory, or jax's default device.
        verify: compare the leaves with their checksums first; with False the file is read as its arrays are used.
    Returns:
        What was saved; a class of the user's becomes a dict, a tuple or a plain value. Plain safetensors and npz files
        give one flat dict.
    Raises:
        DamagedError: the file is not what was written; names the leaf and its byte range, or the header.
        UnknownFormatError: it is of no format that holdfast reads, or holds a dtype that numpy does not have: install
            ml_dtypes, or load with framework="torch".
        NotFoundError: there is no such `subtree`.
        FileNotFoundError: there is no such file, or it is not the one that the Snapshot tells of any more.
        ModuleNotFoundError: the framework is not installed.
    """
    _check_framework(framework, device)
    with opened(source, writable=framework == "torch") as file, _Naming(file.where):
        tree = _part(file.tree(), subtree)
        if verify:
            file.verify(tree.leaves() if subtree else None)
        return load_tree(tree, framework=framework, device=device)


@as_memory_error
def verify(source: Path) -> Snapshot:
    """Read every byte of a snapshot file and compare it with its checksums.

    Args:
        source: a path, or a Snapshot.
    Returns:
        What is known of the snapshot.
    Raises:
        DamagedError: a byte is not what was written; names the leaf and its byte range, or the header.
        UnknownFormatError: it is no snapshot file; other formats have nothing to verify.
        FileNotFoundError: there is no such file, or it is not the one that the Snapshot tells of any more.
    """
    with opened(source) as file:
        if file.facts is None:
            raise UnknownFormatError(
                f"{file.where}: is of the format {file.format}, which has no checksums to verify; a file that save() "
                "writes has some"
            )
        file.verify()
        return as_snapshot(file.facts, *_place(source), file.size_bytes)


@as_memory_error
def info(source: Path) -> Snapshot:
    """What is known of a snapshot file; reads its first 4 KiB, and no more.

    Args:
        source: a path, or a Snapshot.
    Raises:
        DamagedError: these 4 KiB, or the size of the file, are not what was written.
        UnknownFormatError: it is no snapshot file, or of a newer version of the format.
        FileNotFoundError: there is no such file, or it is not the one that the Snapshot tells of any more.
    """
    path = _path(source)
    _refuse_directory(path)
    found = reader.info(path)
    _check_same(source, path, found)
    return found


def new_facts(
    name: str,
    *,
    step: int | None = None,
    epoch: float | None = None,
    metrics: Mapping[str, float] | None = None,
    reason: str = "save",
    run_id: str | None = None,
    sequence: int = 0,
    role: str = "file",
    template: str = "",
) -> Facts:
    """The facts of a snapshot that is about to be written; see holdfast.snapshot.Snapshot for their meaning."""
    return Facts(
        step=step,
        epoch=epoch,
        metrics=dict(metrics or {}),
        reason=reason,
        created_at=datetime.now(timezone.utc),
        run_id=run_id or uuid.uuid4().hex,
        sequence=sequence,
        role=role,
        template=template,
        name=name,
        library=__version__,
    )


def _part(tree: StateTree, subtree: str) -> StateTree:
    return StateTree(lookup.at(tree.root, subtree)) if subtree else tree


def _captured(source: object) -> StateTree:
    """A state in memory; copied, since the target may hold some of its arrays."""
    try:
        tree = capture(source)
    except CaptureError as error:
        raise CaptureError(
            f"the source, a {type(source).__qualname__}, is neither a path, nor a Snapshot, nor a state as load() "
            f"returns it: {error}"
        ) from None
    return StateTree(detached(tree.root), tree.reserved)


def _check_framework(framework: str, device: object) -> None:
    if framework == "numpy" and device is not None:
        raise ValueError(f"device is {device!r}, but numpy's arrays have none; name framework='torch' or 'jax'")
    if framework in ("torch", "jax"):
        try:
            import_module(framework)
        except ModuleNotFoundError as error:
            if error.name != framework:
                raise
            raise ModuleNotFoundError(
                f"load(framework={framework!r}) needs {framework}, which is not installed: pip install "
                f"'holdfast[{framework}]'; or load with framework='numpy'",
                name=framework,
            ) from None


def opened(source: object, *, writable: bool = False, whole: bool = False, room: Memory | None = None) -> SnapshotFile:
    """A path or a Snapshot, opened for reading; the rest as format.reader.open_file has it."""
    path = _path(source)
    _refuse_directory(path)
    file = reader.open_file(path, writable=writable, whole=whole, room=room)
    _check_same(source, path, file.facts)
    return file


def _check_same(source: object, path: str, found: Facts | Snapshot | None) -> None:
    """A Snapshot is one commit; what another one wrote under the same name is something else."""
    if not isinstance(source, Snapshot):
        return
    wanted = (source.run_id, source.sequence, source.created_at)
    if found is None or (found.run_id, found.sequence, found.created_at) != wanted:
        raise FileNotFoundError(
            errno.ENOENT, "the snapshot was replaced by another one of that name; give the path to take that", path
        )


class _Naming:
    """Errors about what a file holds say which file.

    Not a generator: with Python 3.13 one that raises another error is in a cycle with it, and what the error's frames
    hold, the file's map among it, would stay until the collector comes.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, MismatchError | DamagedError | UnknownFormatError | NotFoundError):
            return
        if not str(error).startswith(f"{self._where}: "):
            raise type(error)(f"{self._where}: {error}") from error.__cause__


def _refuse_directory(path: str) -> None:
    if os.path.isdir(path):
        raise UnknownFormatError(
            f"{path}: is a directory, wanted one snapshot file; open a directory of snapshots with "
            "holdfast.SnapshotStore(...), whose resume() finds the newest good one"
        )


def _path(source: object) -> str:
    path = source.__fspath__() if isinstance(source, os.PathLike) else source
    if not isinstance(path, str):
        raise TypeError(
            f"the path of a snapshot file must be a str or an os.PathLike of one, not {type(path).__name__}"
        )
    if not path:
        raise ValueError("the path of a snapshot file is empty; name the file")
    directory, name = os.path.split(path)
    if ".." in directory.split(os.sep):  # abspath() takes "link/.." for the directory that holds the link
        return os.path.join(os.path.realpath(directory), name)
    return path


def _place(path: Path) -> tuple[str, str]:
    """The directory and the name of a file."""
    text = _path(path)
    if text.endswith(("/", os.sep)) or os.path.isdir(text):
        raise CommitError(
            errno.EISDIR,
            f"{text!r} is a directory, wanted the name of a file; to keep many snapshots in a directory use "
            "holdfast.SnapshotStore",
        )
    directory, name = os.path.split(text)
    return os.path.abspath(directory), name
