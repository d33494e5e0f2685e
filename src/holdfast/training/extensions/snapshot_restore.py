"""Restoring a target from one file, as snapshot extensions do: in place, and past extensions that only one side has."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.errors import MismatchError
from holdfast.files import opened
from holdfast.memory import Memory
from holdfast.serializers import datasets, hdf5
from holdfast.state.restore import restore
from holdfast.state.tree import StateTree
from holdfast.training.extensions.snapshot_hosts import TrainerState

_log = logging.getLogger("holdfast")


def restore_in_place(source: str | os.PathLike[str], target: Any, room: Memory | None = None) -> Any:
    """Restore a target from a file of any format that holdfast reads.

    An extension that only the trainer or only the file has is named and passed over: a program may gain or lose a
    report without losing its run.
    Raises:
        MismatchError: the file does not fit; nothing was changed. Or the target cannot change in place.
        DamagedError: the file is not what was written.
    """
    with _verified(source, room) as (tree, where, own):
        extensions = _Extensions(where, inside=isinstance(target, TrainerState))
        try:
            restored = restore(
                tree,
                target,
                casting="no" if own else "same_kind",
                may_lack=extensions.may_lack,
                may_have_more=extensions.may_have_more if own else lambda path: True,
            )
        except MismatchError as error:
            raise MismatchError(f"{where}: {error}") from error
    if restored is not target:
        raise MismatchError(
            f"{os.fspath(source)}: a {type(target).__name__} cannot change in place, so that an extension cannot "
            "restore it; make it one of the updater's targets, or keep it in a dict"
        )
    return restored


@contextmanager
def _verified(source: str | os.PathLike[str], room: Memory | None) -> Iterator[tuple[StateTree, str, bool]]:
    """What a file holds; what messages call the file; whether it is a snapshot file."""
    where = os.fspath(source)
    if os.path.exists(where) and datasets.beginning(where) == datasets.SIGNATURE:
        yield hdf5.tree_of(where), where, False
        return
    with opened(source, whole=True, room=room) as file:
        tree = file.tree()
        file.verify()
        yield tree, file.where, file.format == "snapshot"


class _Extensions:
    """Which of a trainer's extensions and their triggers a file and a program do not share; each is named once.

    Args:
        where: the file, for messages.
        inside: what stands inside of them, and of the stop trigger, may differ as well: of Chainer's trainer a capture
            sees the state of these parts, and not the objects, which might say so themselves.
    """

    def __init__(self, where: str, *, inside: bool) -> None:
        self._where = where
        self._inside = inside
        self._named: set[str] = set()

    def may_lack(self, path: str) -> bool:
        return self._tolerates(path, "holds nothing of the extension %s, which begins here as a new one")

    def may_have_more(self, path: str) -> bool:
        return self._tolerates(path, "holds the extension %s, which this trainer does not have; its state is left out")

    def _tolerates(self, path: str, what: str) -> bool:
        branch, _, name = path.partition("/")
        if path == "stop_trigger":
            return True  # Chainer keeps nothing of some
        if "/" in name or branch == "stop_trigger":
            return self._inside and branch in ("extensions", "extension_triggers", "stop_trigger")
        if branch not in ("extensions", "extension_triggers"):
            return False
        if name and name not in self._named:
            self._named.add(name)
            _log.warning("%s: " + what, self._where, f"'{name}'")
        return True
