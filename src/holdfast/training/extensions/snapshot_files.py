"""The files of a snapshot extension: how they are written, which there are, and which of them go.

`Own` are snapshot files: their headers say what they are. `Foreign` are npz files and whatever a savefun or a custom
writer makes: all that is known of them is their names. A run that Chainer began left npz files under the names of the
former; it is resumed from these where there is nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from holdfast import reporter
from holdfast.catalog import ERROR_SUFFIX, Collection, Listing
from holdfast.catalog.catalog import is_exhaustion
from holdfast.errors import DamagedError, HoldfastError, UnknownFormatError
from holdfast.format.prefix import Facts
from holdfast.keep import Best, Policy
from holdfast.lock import Lock, acquire
from holdfast.retention import is_good
from holdfast.scarcity import is_lack_of_memory
from holdfast.series import Series, is_of_the_machine
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.storage.local import LocalStorage
from holdfast.storage.local_upload import needed_and_free
from holdfast.training.extensions.snapshot_hosts import host_of, updater_of
from holdfast.training.extensions.snapshot_names import Filename
from holdfast.training.extensions.snapshot_restore import restore_in_place
from holdfast.writers import Pending
from holdfast.writers.standard import BackgroundWriter, bytes_of

METRICS_BYTES = 1536  # that names and values of metrics may take in a header, which has 4 KiB for all facts

_ZIP = b"PK\x03\x04"  # what an npz file begins with

Warn = Callable[..., object]

_log = logging.getLogger("holdfast")


class Files(Protocol):
    """What an extension does with its files."""

    def open(self, trainer: Any) -> None:
        """Look into the trainer's folder, which is made where there is none."""

    def lock(self) -> None:
        """Keep other processes from writing here, and sweep what dead ones left; again: nothing."""

    def has_any(self) -> bool:
        """Whether there is something to resume from, or to fail with."""

    def resume(self, target: Any, writer: Any) -> str | None:
        """Restore the newest good one into `target`; its name, or None where there is none."""

    def prepare(self, target: Any, writer: Any) -> None:
        """Have memory ready for the first snapshot."""

    def write(
        self, trainer: Any, name: str, target: Any, reason: str, writer: Any, warn: Warn | None
    ) -> Pending | None:
        """Take a snapshot, and remove old ones once it is durable.

        Args:
            warn: called as `warn(error)` with what the snapshot fails with, where that is of the machine, or as
                `warn(error, is_earlier=True)` where an earlier one has failed; None: it is raised.
        Returns:
            Its Future; None where the writer has none.
        """

    def needed_and_free(self) -> str:
        """How much room the last snapshot needs, in words; "" where its errors say it themselves."""

    def close(self) -> None:
        """Let other processes write here."""


class Folder:
    """A trainer's folder, which this process may lock."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._storage: LocalStorage | None = None
        self._lock: Lock | None = None

    @property
    def storage(self) -> LocalStorage:
        assert self._storage is not None, "the folder was not opened"
        return self._storage

    def open(self, trainer: Any) -> None:
        if self._storage is None:
            self._storage = LocalStorage(os.fspath(trainer.out))

    def lock(self) -> None:
        if self._lock is None:
            self._lock = acquire(self.storage.location)
            self.storage.sweep(self._depth)

    @property
    def held(self) -> Lock | None:
        """The lock, where this process has it."""
        return self._lock

    def close(self) -> None:
        held, self._lock = self._lock, None
        if held is not None:
            held.release()


class Own:
    """Snapshot files of one template and role.

    Args:
        names: how they are named.
        role: "trainer" or "object".
        policy: which of them stay; None: all.
    """

    def __init__(self, names: Filename, role: str, policy: Policy | None) -> None:
        self._names = names
        self._role = role
        self._policy = policy
        self._folder = Folder(names.depth)
        self._collection: Collection | None = None
        self._series: Series | None = None

    def open(self, trainer: Any) -> None:
        self._folder.open(trainer)
        if self._collection is None:
            template = self._names.template or ""  # a function's names follow no template, and nothing is removed
            self._collection = Collection(self._folder.storage, template=template, role=self._role, keep=self._policy)

    def lock(self) -> None:
        self._folder.lock()

    def close(self) -> None:
        self._series = None  # it shares the lock
        self._folder.close()

    def has_any(self) -> bool:
        listing = self._opened().read()
        return bool(listing.snapshots or listing.damaged)

    def resume(self, target: Any, writer: Any) -> str | None:
        with self._opened_series(writer).room() as room:
            listing = self._opened().read()
            if not any(is_good(snapshot) for snapshot in listing.snapshots):
                path, _ = _first_whole(self._npz_files(listing), lambda path: restore_in_place(path, target, room))
                if path is not None:
                    return path
            found = self._opened().resume(lambda snapshot: restore_in_place(snapshot, target, room))
        return None if found is None else os.fspath(found[1])

    def prepare(self, target: Any, writer: Any) -> None:
        self._opened_series(writer).prepare(target)

    def needed_and_free(self) -> str:
        return ""

    def write(
        self, trainer: Any, name: str, target: Any, reason: str, writer: Any, warn: Warn | None
    ) -> Pending | None:
        collection = self._opened()
        if reason == "error":
            name = collection.error_name(name)
        updater = updater_of(trainer)
        metrics = _metrics_of(trainer, self._policy)

        def new_facts() -> Facts:
            return collection.new_facts(
                name, step=int(updater.iteration), epoch=_epoch_of(updater), metrics=metrics, reason=reason
            )

        series = self._opened_series(writer)
        return series.save(target, new_facts, name, must=reason == "error", warn=warn)

    def _npz_files(self, listing: Listing) -> list[str]:
        """Those under names of this template, newest first: by the numbers in them."""
        storage, numbers = self._folder.storage, {}
        for path, _ in listing.damaged:
            name = os.path.relpath(path, storage.location)
            found = self._names.numbers(name)
            if found is not None and storage.read(name, 0, len(_ZIP)) == _ZIP:
                numbers[path] = found
        return sorted(numbers, key=lambda path: numbers[path], reverse=True)

    def _opened_series(self, writer: Any) -> Series:
        if self._series is None:
            self._series = Series(self._opened(), writer, self._folder.held)
        return self._series

    def _opened(self) -> Collection:
        assert self._collection is not None, "the extension was not opened"
        return self._collection


class Foreign:
    """Files that are known by their names alone.

    Args:
        names: how they are named; the numbers in a name give their order.
        n_retains: how many of the newest stay; 0: all.
        loadfun: `loadfun(path, target)` restores one.
    """

    def __init__(self, names: Filename, n_retains: int, loadfun: Callable[[str, Any], Any] | None) -> None:
        self._names = names
        self._n_retains = n_retains
        self._loadfun = loadfun
        self._folder = Folder(names.depth)
        self._written: list[str] = []  # by this process, and given to the writer; the newest last
        self._arrays_bytes = 0  # of the last one that was given to the writer

    def open(self, trainer: Any) -> None:
        self._folder.open(trainer)

    def lock(self) -> None:
        self._folder.lock()

    def close(self) -> None:
        if self._folder.held is not None:
            self._retain()  # what a writer in the background finished since
        self._folder.close()

    def has_any(self) -> bool:
        return bool(self._found())

    def resume(self, target: Any, writer: Any) -> str | None:
        assert self._loadfun is not None
        location, loadfun = self._folder.storage.location, self._loadfun
        names = [*reversed(self._found()), *reversed(self._found(ERROR_SUFFIX))]
        paths = [os.path.join(location, name) for name in names]
        if loadfun is restore_in_place:
            path, bad = _first_whole(paths, lambda path: loadfun(path, target))
            wrong = "is damaged"
        else:
            target = host_of(target)
            path, bad = _first_whole(paths, lambda path: _read_by_another(loadfun, path, target))
            wrong = "is damaged, or is none that loadfun can read"
        if bad and path is None:
            raise DamagedError(f"{location}: every snapshot {wrong}: {'; '.join(map(str, bad))}") from bad[0]
        return path

    def prepare(self, target: Any, writer: Any) -> None:
        """Nothing: what a writer of somebody else's does is not known."""

    def needed_and_free(self) -> str:
        return "the arrays of a snapshot " + needed_and_free(
            os.path.join(self._folder.storage.location, "one"), self._arrays_bytes
        )

    def write(
        self, trainer: Any, name: str, target: Any, reason: str, writer: Any, warn: Warn | None
    ) -> Pending | None:
        out = self._folder.storage.location
        if reason == "error" and os.path.exists(os.path.join(out, name)):
            name += ERROR_SUFFIX
        mapping = flatten(capture(target))
        self._arrays_bytes = bytes_of(mapping)
        in_background = isinstance(writer, BackgroundWriter)  # takes this one, and raises what an earlier failed with
        try:
            writer(name, out, mapping)
        except (OSError, MemoryError) as error:
            if warn is None or not is_of_the_machine(error):
                raise
            warn(error, is_earlier=in_background)
            if not in_background:
                return None
        if reason != "error":
            self._written = [one for one in self._written if one != name] + [name]
            self._retain()
        return None

    def _found(self, suffix: str = "") -> list[str]:
        """Names of this template that lie in the folder, oldest first: by their numbers, those of this run last."""
        names = [entry.name for entry in self._folder.storage.list(self._names.depth)]
        numbers = {
            name: found
            for name in names
            if name.endswith(suffix) and (found := self._names.numbers(name.removesuffix(suffix))) is not None
        }
        mine = {name: position for position, name in enumerate(self._written)}
        return sorted(numbers, key=lambda name: (mine.get(name, -1), numbers[name]))

    def _retain(self) -> None:
        """Remove what is older than the newest `n_retains`, once the newest one is there."""
        if not self._n_retains or not self._written:
            return
        try:
            found = self._found()
        except OSError as error:
            _log.warning("%s: older snapshots stay, it cannot be read: %s", self._folder.storage.location, error)
            return
        if self._written[-1] not in found:
            return  # a writer in the background has not finished it
        for name in found[: -self._n_retains]:
            try:
                self._folder.storage.remove(name)
            except OSError as error:
                _log.warning(
                    "'%s' is older than the newest %d, but cannot be removed: %s", name, self._n_retains, error
                )


def _read_by_another(loadfun: Callable[[str, Any], Any], path: str, target: Any) -> None:
    """Call somebody else's function, of which nobody knows how it says that it cannot read a file."""
    try:
        loadfun(path, target)
    except (HoldfastError, OSError, MemoryError):
        raise
    except Exception as error:
        if is_lack_of_memory(error):
            raise
        raise DamagedError(f"{path}: {type(error).__name__}: {error}") from error


def _first_whole(paths: Iterable[str], load: Callable[[str], Any]) -> tuple[str | None, list[Exception]]:
    """The first file that can be loaded, and what is wrong with those before it."""
    bad: list[Exception] = []
    for path in paths:
        try:
            load(path)
        except (DamagedError, UnknownFormatError, OSError) as error:
            if isinstance(error, FileNotFoundError) or is_exhaustion(error):  # says nothing about the file
                raise
            _log.warning("passed over: %s", str(error))
            bad.append(error)
            continue
        _log.info("%s: resumed from this file", path)
        return path, bad
    return None, bad


def _epoch_of(updater: Any) -> float | None:
    try:
        return float(updater.epoch_detail)
    except AttributeError:  # its iterator counts no epochs
        return None


def _metrics_of(trainer: Any, policy: Policy | None) -> Mapping[str, float]:
    """The scalars of this iteration's observation, those that a policy asks for first, as far as a header has room."""
    scalars = reporter.scalars_of(getattr(trainer, "observation", {}))
    wanted = [part.metric for part in policy.parts() if isinstance(part, Best)] if policy is not None else []
    kept: dict[str, float] = {}
    room = METRICS_BYTES
    for name in [*[one for one in wanted if one in scalars], *scalars]:
        room -= 2 * len(ascii(name)) + 32
        if room < 0:
            break
        kept[name] = scalars[name]
    return kept
