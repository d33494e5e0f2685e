"""Chainer's serializers: objects with a `serialize` method to npz and HDF5 files and back, without pickle."""

from __future__ import annotations

from holdfast.serializers.hdf5 import HDF5Deserializer, HDF5Serializer, load_hdf5, save_hdf5
from holdfast.serializers.npz import DictionarySerializer, NpzDeserializer, load_npz, save_npz
from holdfast.state.serializer import AbstractSerializer, Deserializer, Serializer

__all__ = [
    "AbstractSerializer",
    "Deserializer",
    "DictionarySerializer",
    "HDF5Deserializer",
    "HDF5Serializer",
    "NpzDeserializer",
    "Serializer",
    "load_hdf5",
    "load_npz",
    "save_hdf5",
    "save_npz",
]
