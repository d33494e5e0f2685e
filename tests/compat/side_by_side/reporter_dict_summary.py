"""DictSummary: the scalars among reported values; what it passes over, weights, and what it keeps in a snapshot."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import kind_raised, warned

DIFFERS = {
    # Chainer adds up texts, too, and fails in the middle of a run.
    "a text": ["TypeError", None],
    # Chainer reads the sum of weights as an int, and cannot read what it has written of others.
    "weights that are no ints": ["TypeError", None],
}


def main(api, out):
    summary = api.reporter.DictSummary()
    summary.add({"number": 1, "float": 0.5, "numpy": np.float32(0.1), "array": np.array(3.0), "vector": np.ones(2)})
    summary.add({"number": 4, "None": None, "list": [1], "variable": chainer.Variable(np.array(2.5, "f"))})
    summary.add({"weighted": (1.0, 3), "pair": (2, np.array(3))})
    summary.add({"weighted": (5.0, 1), "pair": (6, chainer.Variable(np.array(2)))})
    state = api.serializers.DictionarySerializer()
    summary.serialize(state)
    resumed = api.reporter.DictSummary()
    resumed.add({"forgotten": 1})
    resumed.serialize(api.serializers.NpzDeserializer(state.target))
    fractions = api.reporter.DictSummary()
    fractions.add({"weighted": (1.0, 0.5)})
    of_fractions = api.serializers.DictionarySerializer()
    fractions.serialize(of_fractions)
    fractional = api.serializers.NpzDeserializer(of_fractions.target)
    _, warnings = warned(api.reporter.DictSummary().serialize, api.serializers.NpzDeserializer({}))
    statistics = {name: float(value) for name, value in summary.make_statistics().items()}
    return {
        "means": {name: float(value) for name, value in summary.compute_mean().items()},
        "statistics": statistics,
        "keys": sorted(state.target),
        "names": state.target["_names"].item(),
        "resumed": {name: float(value) for name, value in resumed.make_statistics().items()} == statistics,
        "weights that are no ints": kind_raised(api.reporter.DictSummary().serialize, fractional),
        "a weight that is none": kind_raised(summary.add, {"weighted": (1.0, np.ones(2))}),
        "a text": kind_raised(summary.add, {"text": "no"}),
        "old": warnings,
    }
