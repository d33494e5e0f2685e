"""DictionarySerializer and NpzDeserializer, used by hand."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import MLP, kind_raised, parameters


def main(api, out):
    serializers = api.serializers
    model = MLP()
    serializer = serializers.DictionarySerializer()
    serializer.save(model)
    into = {"before": np.zeros(1)}
    below = serializers.DictionarySerializer(into, "deep/")
    returned = below("x", 3)
    below["part"]("y", np.arange(2))
    below["/slashed/"]("/z", "text")
    below("nothing", None)
    below["part"]["inner"]("w", 1.5)
    optimizer = chainer.optimizers.Adam()
    optimizer.setup(model)
    fresh = serializers.DictionarySerializer()
    optimizer.serialize(fresh)
    other = MLP()
    deserializer = serializers.NpzDeserializer(serializer.target)
    deserializer.load(other)
    lenient = serializers.NpzDeserializer({"a": np.asarray(5)}, strict=False)
    return {
        "keys": sorted(serializer.target),
        "into": {name: value.tolist() for name, value in into.items()},
        "the same dict": below.target is into,
        "returned": returned,
        "a fresh optimizer": sorted(fresh.target),
        "loaded": parameters(other) == parameters(model),
        "strict": kind_raised(serializers.NpzDeserializer({}), "a", 1),
        "not strict": [lenient("a", 1), lenient("b", 2), lenient["part"]("c", 3.5)],
        "ignored": serializers.NpzDeserializer({"a": np.asarray(5)}, ignore_names=["a"])("a", 1),
        "a path": serializers.NpzDeserializer({"p/a": np.asarray(5)}, path="p/")("a", 1),
    }
