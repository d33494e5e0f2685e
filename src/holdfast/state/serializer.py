"""The base classes of serializers, with Chainer's names: what the `serialize(serializer)` of an object is given.

A program that asks `isinstance(serializer, Deserializer)` whether it is saved or restored asks for these; Chainer's own
objects ask for Chainer's. Where a program uses Chainer, a serializer of holdfast's is both.
"""

from __future__ import annotations

import functools
import sys
from typing import Any


class AbstractSerializer:
    """What serializers and deserializers have in common."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return super().__new__(_as_chainers(cls))

    def __getitem__(self, key: str) -> AbstractSerializer:
        """The serializer for the part `key`."""
        raise NotImplementedError(f"{type(self).__qualname__} must define __getitem__(key)")

    def __call__(self, key: str, value: Any) -> Any:
        """Save `value` under `key` and return it; or return what is stored there: an array is `value` itself, with the
        stored elements."""
        raise NotImplementedError(f"{type(self).__qualname__} must define __call__(key, value)")


class Serializer(AbstractSerializer):
    """The base of those that save."""

    def save(self, obj: Any) -> None:
        """Save an object: `obj.serialize(self)`."""
        obj.serialize(self)


class Deserializer(AbstractSerializer):
    """The base of those that restore."""

    def load(self, obj: Any) -> None:
        """Restore an object: `obj.serialize(self)`."""
        obj.serialize(self)


def _as_chainers(kind: type) -> type:
    """The class, which is one of Chainer's too where Chainer is loaded: its update rules, links and reports ask by
    isinstance which way their state goes, and a rule that is wrong about it restores no moments."""
    role = next((base.__name__ for base in (Serializer, Deserializer) if issubclass(kind, base)), "AbstractSerializer")
    base = getattr(sys.modules.get("chainer"), role, None)
    return kind if base is None or issubclass(kind, base) else _joined(kind, base)


@functools.lru_cache(maxsize=64)
def _joined(kind: type, base: type) -> type:
    same = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, base), same)
