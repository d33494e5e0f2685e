"""Summary: mean and standard deviation of scalars, also weighted, and what it keeps in a snapshot."""

from __future__ import annotations

import numpy as np

from compat.side_by_side.support import warned

DIFFERS = {
    # The variance of equal values may come out below zero by rounding, of which Chainer takes the root.
    "equal values": ["nan", 0.0],
}


def main(api, out):
    summary_class = api.reporter.Summary

    def of(values, weights=None):
        summary = summary_class()
        for value, weight in zip(values, weights or [1] * len(values), strict=True):
            summary.add(value, weight)
        return summary

    summary = of([1.0, 2, np.float32(0.1), np.array(4.5), np.float64(-3)])
    state = api.serializers.DictionarySerializer()
    summary.serialize(state)
    resumed = summary_class()
    resumed.serialize(api.serializers.NpzDeserializer(state.target))
    resumed.add(7.0)
    summary.add(7.0)
    old = summary_class()
    _, warnings = warned(old.serialize, api.serializers.NpzDeserializer({}))
    return {
        "mean": float(summary.compute_mean()),
        "statistics": [float(one) for one in summary.make_statistics()],
        "weighted": [float(one) for one in of([1.0, 3.0, 5.0], [1, 2, 0.5]).make_statistics()],
        "singles": float(of([np.float32(0.1)] * 3).compute_mean()),
        "keys": sorted(state.target),
        "resumed": [float(one) for one in resumed.make_statistics()]
        == [float(one) for one in summary.make_statistics()],
        "old": warnings,
        "equal values": float(of([0.1] * 3).make_statistics()[1]),
    }
