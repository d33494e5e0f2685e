"""What runs a snapshot extension: holdfast's Trainer, Chainer's own, or a manager of pytorch-pfn-extras.

The three call the same methods of an extension; what differs between them stands here. No library is imported for it: a
host is known by what it can do, and none exists where its library is not loaded.

| host | its state | restored in |
|---|---|---|
| holdfast's Trainer | `serialize` | `resume`, before any extension is initialized |
| Chainer's Trainer | `serialize` | `initialize`, after that of extensions with a higher priority |
| ExtensionsManager, IgniteExtensionsManager | `state_dict`, `load_state_dict` | the same |

In the last two a snapshot also holds the global random generators, as it does in the first.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from holdfast.state.capture import Capture
from holdfast.state.tree import Branch
from holdfast.training.generators import global_generators, set_global_generators

_COUNTS = ("iteration", "epoch", "epoch_detail", "previous_epoch_detail", "is_new_epoch")

_log = logging.getLogger("holdfast")


def updater_of(host: Any) -> Any:
    """What counts iterations and epochs."""
    return host if _is_manager(host) else getattr(host, "updater", host)


class Fields:
    """A host as format strings see it: `{.updater.iteration}` and `{.iteration}` are the same in each."""

    def __init__(self, host: Any) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        if name == "updater":  # a manager has one, and warns that it is deprecated
            return updater_of(self._host)
        try:
            return getattr(self._host, name)
        except AttributeError:
            if name not in _COUNTS:
                raise
            return getattr(updater_of(self._host), name)


def state_of(host: Any) -> Any:
    """What a snapshot of the whole host is captured from, and restored into."""
    if _is_manager(host):
        return ManagerState(host)
    chainers = getattr(sys.modules.get("chainer.training"), "Trainer", None)
    return TrainerState(host) if chainers is not None and isinstance(host, chainers) else host


def host_of(target: Any) -> Any:
    """The host that `state_of` made this of; any other target as it is."""
    return target.host if isinstance(target, HostState) else target


def extensions_of(host: Any) -> list[Any]:
    """Every extension that is registered."""
    entries = host.entries() if hasattr(host, "entries") else host._extensions.values()
    return [entry.extension for entry in entries]


def holds(host: Any, target: Any) -> bool:
    """Whether a snapshot of the whole host restores this very object."""
    state = state_of(host)
    parts = state.parts() if isinstance(state, HostState) else ()
    return any(part is target for part in parts) or Capture(state).holds(target)


def class_for_hosts(own: type) -> type:
    """What an extension's `__class__` is to be: a subclass of pytorch-pfn-extras' Extension, too, where that is loaded.

    It asks isinstance, and knows neither the state nor the wishes of what is none of its own. isinstance looks at the
    type, and then at `__class__`: so the library may be imported after the extension was made.
    """
    theirs = getattr(sys.modules.get("pytorch_pfn_extras.training.extension"), "Extension", None)
    return own if theirs is None else _subclass(own, theirs)


@functools.cache
def _subclass(own: type, theirs: type) -> type:
    return type(own.__name__, (own, theirs), {})


def open_after_error(host: Any) -> None:
    """Let a snapshot be taken of a host whose loop has failed.

    A manager closes its models to extensions in iterations in which none is due that needs them, and where one fails
    then, they stay closed.
    """
    if _is_manager(host):
        host._model_available = True


class HostState:
    """The state of a host that does not keep the global random generators itself.

    Args:
        host: the trainer or manager.
    """

    def __init__(self, host: Any) -> None:
        self.host = host
        self._generators: Branch | None = None

    def parts(self) -> Iterator[Any]:
        """Objects whose state it holds. A capture does not meet them: it is only given what they hold."""
        raise NotImplementedError

    def reserved_state(self) -> dict[str, Any]:
        """What a snapshot holds beside the host's own state."""
        return global_generators()

    def restore_reserved(self, node: Branch) -> None:
        """Set the generators as they were."""
        self._generators = node
        set_global_generators(node)

    def set_generators_again(self) -> None:
        """Set them once more, where they were restored: what was initialized since may have drawn from them."""
        if self._generators is not None:
            set_global_generators(self._generators)


class TrainerState(HostState):
    """The state of a trainer of Chainer's: what its `serialize` saves and restores."""

    def parts(self) -> Iterator[Any]:
        """See HostState."""
        updater = self.host.updater
        yield updater
        yield from getattr(updater, "_iterators", {}).values()
        for optimizer in updater.get_all_optimizers().values():
            yield optimizer
            yield from optimizer.target.links()

    def serialize(self, serializer: Any) -> None:
        """Save or restore it. An extension that a snapshot has nothing of keeps the state that it has."""
        trainer = self.host
        if serializer.loading:
            entries = trainer._extensions
            extensions = {name: entry.extension for name, entry in entries.items()}
            triggers = {name: entry.trigger for name, entry in entries.items()}
            serializer = _Restoring(serializer, {"extensions": extensions, "extension_triggers": triggers})
        before_the_run = trainer._start_at is None  # its elapsed time, which it saves, is an error until then
        if before_the_run:
            trainer._start_at = time.perf_counter()
        try:
            trainer.serialize(serializer)
        finally:
            if before_the_run:
                trainer._start_at = None


class _Restoring:
    """A deserializer that knows which parts a snapshot may have nothing of.

    Args:
        serializer: the one for the same place.
        parts: these parts by their keys; a dict stands for a level of its own.
    """

    loading = True

    def __init__(self, serializer: Any, parts: Mapping[str, Any]) -> None:
        self._serializer = serializer
        self._parts = parts

    def __getitem__(self, key: str) -> Any:
        part = self._parts.get(key)
        if isinstance(part, dict):
            return _Restoring(self._serializer[key], part)
        if part is None or key in self._serializer:
            return self._serializer[key]
        return _deserializer_of_today(part)

    def __call__(self, key: str, value: Any) -> Any:
        return self._serializer(key, value)


def _deserializer_of_today(part: Any) -> Any:
    """Gives an extension or trigger of Chainer's the state that it has. Only when a trigger was asked last is left out:
    it then begins with the running iteration."""
    serializers = sys.modules["chainer"].serializers
    today = serializers.DictionarySerializer()
    part.serialize(today)
    kept = {name: value for name, value in today.target.items() if not name.split("/")[-1].startswith("previous_")}
    return serializers.NpzDeserializer(kept)


class ManagerState(HostState):
    """The state of a manager of pytorch-pfn-extras."""

    def parts(self) -> Iterator[Any]:
        """See HostState."""
        for model in self.host.raw_models.values():
            yield from model.modules()
        yield from self.host.optimizers.values()
        yield from self.host._state_objects.values()

    def state_dict(self) -> dict[str, Any]:
        """The manager's."""
        state: dict[str, Any] = self.host.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Have the manager take a state. Extensions that only one side has are named, and passed over."""
        today = self.host.state_dict()
        known, found = today["extensions"], state.setdefault("extensions", {})
        for name in [name for name in known if name not in found]:
            _log.warning("the snapshot holds nothing of the extension '%s', which begins here as a new one", name)
            found[name] = {}
        for name in [name for name in found if name not in known]:
            _log.warning("the snapshot holds the extension '%s', which is not here; its state is left out", name)
        for name, model in today["models"].items():
            if name in state["models"] and hasattr(model, "_metadata"):  # the versions of its modules
                state["models"][name] = OrderedDict(state["models"][name])
                state["models"][name]._metadata = model._metadata
        state["optimizers"] = _with_tensors(state["optimizers"])
        self.host.load_state_dict(state)


def _with_tensors(value: Any) -> Any:
    """An npz file does not say that moments were tensors, and a new optimizer has none to go by."""
    if isinstance(value, np.ndarray):
        return sys.modules["torch"].from_numpy(value)
    if type(value) is dict:
        return {key: _with_tensors(item) for key, item in value.items()}
    return value


def _is_manager(host: Any) -> bool:
    """Whether this is a manager of pytorch-pfn-extras, and no trainer."""
    kind = type(host)
    return callable(getattr(kind, "load_state_dict", None)) and not callable(getattr(kind, "serialize", None))
