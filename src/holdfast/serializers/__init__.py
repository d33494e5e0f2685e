"""Chainer's serializers: objects with a `serialize` method to npz files and back, without pickle."""

from __future__ import annotations

from holdfast.serializers.npz import DictionarySerializer, NpzDeserializer, load_npz, save_npz

__all__ = ["DictionarySerializer", "NpzDeserializer", "load_npz", "save_npz"]
