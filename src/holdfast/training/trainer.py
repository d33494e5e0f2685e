"""Trainer: the training loop, and everything in it that a snapshot must hold.

An iteration is one update, then every extension that is due, by falling priority; then every trigger that is left is
asked, the stop trigger among them; and only then are snapshots taken. So a snapshot holds the state between two
iterations, and a run that is resumed from it goes on exactly as the one that was not stopped.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from holdfast.reporter import Reporter
from holdfast.state.serializable import serialize_state
from holdfast.state.tree import Branch
from holdfast.training.entries import Entry, by_priority, in_order_of_resuming, make_entry
from holdfast.training.generators import global_generators, set_global_generators
from holdfast.training.triggers.interval import get_trigger, has_ended
from holdfast.training.updater import observe_models

_log = logging.getLogger("holdfast")
_clock = time.perf_counter


class Trainer:
    """Runs an updater until the stop trigger fires, and calls extensions between its iterations.

    Args:
        updater: does one iteration; see Updater.
        stop_trigger: when to stop: a trigger, or a pair such as (20, "epoch"). None: never, unless an error does.
        out: the folder that extensions write into; made, with its parents, when the run starts.
        extensions: registered as by `extend`, without further arguments.

    Attributes:
        updater: as given.
        stop_trigger: the trigger made of what was given. It is asked before the first iteration and in each one, before
            snapshots are taken. A run that is resumed beyond the length it states stops at once.
        observation: what was reported in the running iteration.
        out: as given.
        reporter: collects what is reported; the targets of the updater are its observers.

    Raises:
        TypeError: `stop_trigger` is none.
        ValueError: its period or unit is not one.
    """

    def __init__(
        self,
        updater: Any,
        stop_trigger: Any = None,
        out: str | os.PathLike[str] = "result",
        extensions: Iterable[Callable[[Trainer], Any]] | None = None,
    ) -> None:
        self.updater = updater
        self.stop_trigger = get_trigger(stop_trigger)
        self.out = out
        self.observation: dict[str, Any] = {}
        self.reporter = Reporter()
        self._extensions: dict[str, Entry] = {}
        self._before_first_update: list[Callable[[], None]] | None = []  # None: the first update has begun
        self._elapsed_s = 0.0  # until `_running_since`
        self._running_since: float | None = None
        self._was_run = False
        observe_models(self.reporter, updater.get_all_optimizers())
        updater.connect_trainer(self)
        for extension in extensions or ():
            self.extend(extension)

    @property
    def elapsed_time(self) -> float:
        """Seconds of training, those before a resume included; those of the whole run once it has ended.

        Raises:
            RuntimeError: `run` was not called yet.
        """
        if not self._was_run:
            raise RuntimeError("training has not been started yet: elapsed_time begins with Trainer.run")
        return self._seconds_at(_clock())

    @property
    def is_before_training(self) -> bool:
        """Whether no iteration is finished yet, as in a call before training."""
        return bool(self.updater.iteration == 0)

    def extend(
        self,
        extension: Callable[[Trainer], Any],
        name: str | None = None,
        trigger: Any = None,
        priority: int | None = None,
        *,
        call_before_training: bool = False,
    ) -> None:
        """Register an extension, before the run.

        Args:
            extension: any callable that takes the trainer; see Extension for what else it may have.
            name: what it is registered under, and a key in snapshots. Left out: its `name`, `default_name` or
                `__name__`. Where the name is taken, "_1", "_2" and so on is appended. The extension is told, as `name`.
            trigger: when to call it: a trigger, or a pair such as (100, "iteration"). Left out: its `trigger`, or every
                iteration.
            priority: higher ones are called earlier. Left out: its `priority`, or PRIORITY_READER.
            call_before_training: call it once more, before the first iteration of all; not when the run is resumed.

        Raises:
            TypeError: it cannot be called, or has no name; or `trigger` is none.
            ValueError: the name is "training", or the trigger's period or unit is not one.
            RuntimeError: the run has begun.
        """
        if self._was_run:
            raise RuntimeError("the run has begun, and would not call a new extension: extend the trainer before run")
        entry = make_entry(
            extension,
            self._extensions,
            name=name,
            trigger=trigger,
            priority=priority,
            call_before_training=call_before_training,
        )
        self._extensions[entry.name] = entry

    def get_extension(self, name: str) -> Any:
        """The extension that is registered under `name`.

        Raises:
            ValueError: there is none; says which there are.
        """
        if name not in self._extensions:
            known = ", ".join(self._extensions) or "none"
            raise ValueError(f"extension {name} not found; registered: {known}")
        return self._extensions[name].extension

    def entries(self) -> list[Entry]:
        """Every registered extension, in the order of registration."""
        return list(self._extensions.values())

    def before_first_update(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, right before the first update of the run: after the last `initialize`, the
        extensions called before training, and the stop trigger. It is not called where no update is left to do.

        Raises:
            RuntimeError: the first update has begun.
        """
        if self._before_first_update is None:
            raise RuntimeError("the first update has begun; call before_first_update from resume or initialize")
        self._before_first_update.append(callback)

    def run(self, show_loop_exception_msg: bool = True) -> None:
        """Train until the stop trigger fires. A trainer can be run once.

        In this order: `out` is made; `resume` of each extension that has one, as they were registered (those with
        `resume_last` at the end); `initialize` of each, by falling priority; in a run that is not resumed, extensions
        with `call_before_training`; the loop. If the loop fails with an Exception, each `on_error` is called. At the
        end, however it comes, each extension that was initialized or resumed is finalized, and then the updater. The
        error that comes out is the first; one that a later hook raises is logged, and keeps no other hook from being
        called.

        Args:
            show_loop_exception_msg: write an Exception of the loop to the standard error stream at once, as the hooks
                that follow it may take long.

        Raises:
            RuntimeError: it was run before.
        """
        if self._was_run:
            raise RuntimeError(
                "cannot run training loop multiple times: make a new trainer; with extensions.snapshot(autoload=True) "
                "it goes on from the newest snapshot"
            )
        os.makedirs(self.out, exist_ok=True)
        self._was_run = True
        self._running_since = _clock()
        opened: dict[str, Entry] = {}  # what must be finalized
        succeeded = False
        try:
            self._open(opened)
            try:
                self._loop()
            except Exception as error:
                self._handle(error, show_loop_exception_msg)
                raise
            succeeded = True
        finally:
            late = self._finalize(by_priority(opened.values()))
            self._elapsed_s, self._running_since = self._seconds_at(_clock()), None
            for what, failure in late[1:] if succeeded else late:
                _log.error("finalize of %s failed; the first error of the run is raised", what, exc_info=failure)
            if succeeded and late:
                raise late[0][1]

    def serialize(self, serializer: Any) -> None:
        """Save or restore the updater, the stop trigger, every extension and its trigger, and the elapsed time.

        When restoring, an extension that the file knows nothing of is left as it is, and its trigger begins here.
        """
        _serialize(serializer, "updater", self.updater)
        extensions, triggers = serializer["extensions"], serializer["extension_triggers"]
        loading = getattr(serializer, "loading", False)
        if not loading or "stop_trigger" in serializer:
            _serialize(serializer, "stop_trigger", self.stop_trigger)
        elif hasattr(self.stop_trigger, "serialize"):  # of an old Chainer, or one that Chainer keeps nothing of
            self.stop_trigger.serialize(serializer["stop_trigger"])
        for name, entry in self._extensions.items():
            if not loading or name in extensions:
                _serialize(extensions, name, entry.extension)
            if not loading or name in triggers:
                _serialize(triggers, name, entry.trigger)
            elif hasattr(entry.trigger, "begin"):
                entry.trigger.begin()
        now = _clock()
        self._elapsed_s = serializer("_snapshot_elapsed_time", self._seconds_at(now))
        if self._running_since is not None:
            self._running_since = now

    def reserved_state(self) -> dict[str, Any]:
        """What a snapshot of this trainer holds beside its own state: the global random generators."""
        return global_generators()

    def restore_reserved(self, node: Branch) -> None:
        """Set the global random generators as they were; and again right before the first update, since whatever is
        initialized until then may draw from them."""
        set_global_generators(node)
        if self._before_first_update is not None:
            self.before_first_update(lambda: set_global_generators(node))

    def _open(self, opened: dict[str, Entry]) -> None:
        """Resume and initialize the extensions; `opened` gets each that came back from one of the two."""
        for entry in in_order_of_resuming(self.entries()):
            resume = entry.hook("resume")
            if resume is not None:
                resume(self)
                opened[entry.name] = entry
        for entry in by_priority(self.entries()):
            initialize = entry.hook("initialize")
            # a trigger that says that it will never fire again: there is nothing to prepare for
            if initialize is not None and not getattr(entry.trigger, "finished", False):
                initialize(self)
            opened[entry.name] = entry

    def _loop(self) -> None:
        entries = by_priority(self.entries())
        # The whole trainer's last: a run that is resumed from it does not take those of its parts again.
        snapshots = in_order_of_resuming(entry for entry in entries if entry.is_snapshot)
        others = [entry for entry in entries if not entry.is_snapshot]
        if self.updater.iteration == 0:
            self.observation = {}
            with self.reporter.scope(self.observation):
                for entry in others + snapshots:
                    if entry.call_before_training:
                        entry.extension(self)
        stop = self.stop_trigger(self) or has_ended(self.stop_trigger, self)
        if not stop:
            callbacks, self._before_first_update = self._before_first_update or [], None
            for callback in callbacks:
                callback()
        prepared = False
        while not stop:
            self.observation = {}
            with self.reporter.scope(self.observation):
                self.updater.update()
                for entry in others:
                    if entry.trigger(self):
                        entry.extension(self)
                due = [entry for entry in snapshots if entry.trigger(self)]
                stop = self.stop_trigger(self)
                for entry in due:  # from here on the state is that between two iterations
                    entry.extension(self)
            if not prepared and not stop:  # an optimizer has its full state after one step
                prepared = True
                for prepare in [entry.hook("prepare") for entry in snapshots if entry not in due]:
                    if prepare is not None:
                        prepare(self)

    def _handle(self, error: Exception, show: bool) -> None:
        """Tell the user, then each extension, that the loop failed."""
        if show:
            sys.stderr.write(f"Exception in main training loop: {error}\nTraceback (most recent call last):\n")
            traceback.print_tb(error.__traceback__)
            sys.stderr.write("Will finalize trainer extensions and updater before reraising the exception.\n")
        for entry in by_priority(self.entries()):
            on_error = entry.hook("on_error")
            if on_error is not None:
                try:
                    on_error(self, error, error.__traceback__)
                except Exception:  # noqa: BLE001  it must not take the place of the loop's error
                    _log.exception("on_error of extension '%s' failed; the error of the loop is raised", entry.name)

    def _finalize(self, entries: list[Entry]) -> list[tuple[str, BaseException]]:
        """Finalize the extensions and the updater, each whatever the others raise; returns what they raised."""
        hooks = [(f"extension '{entry.name}'", entry.hook("finalize")) for entry in entries]
        raised: list[tuple[str, BaseException]] = []
        for what, finalize in [*hooks, ("the updater", self.updater.finalize)]:
            try:
                if finalize is not None:
                    finalize()
            except BaseException as error:  # noqa: BLE001  an interrupt ends this one, the others are still due
                raised.append((what, error))
        return raised

    def _seconds_at(self, now: float) -> float:
        return self._elapsed_s if self._running_since is None else self._elapsed_s + (now - self._running_since)


def _serialize(serializer: Any, key: str, part: Any) -> None:
    """Save or restore a part that has a `serialize`, as a class's method or as an attribute."""
    if callable(getattr(type(part), "serialize", None)):
        serialize_state(serializer, key, part)
    elif getattr(part, "serialize", None) is not None:
        part.serialize(serializer[key])
