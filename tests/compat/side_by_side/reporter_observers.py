"""Reporter: values, under the names of their observers."""

from __future__ import annotations

from compat.side_by_side.support import kind_raised


def main(api, out):
    reporter_module = api.reporter
    reporter, observer, other = reporter_module.Reporter(), object(), object()
    reporter.add_observer("my_observer", observer)
    reporter.add_observers("part", [("/one", other)])
    observation = {}
    with reporter.scope(observation):
        reporter.report({"x": 1}, observer)
        reporter.report({"y": 2}, other)
        reporter.report({"z": 3})
        unknown = kind_raised(reporter.report, {"w": 4}, object())
        reporter_module.report({"by the function": 5}, observer)
        nested = {}
        with reporter.scope(nested):
            reporter_module.report({"inside": 6})
        reporter_module.report({"z": 7})
    with reporter:
        reporter_module.report({"own": 8})
    reporter_module.report({"to nobody": 9})
    same = object()
    reporter.add_observer("first", same)
    reporter.add_observer("renamed", same)
    renamed = {}
    with reporter.scope(renamed):
        reporter.report({"x": 1}, same)
    return {
        "observation": observation,
        "nested": nested,
        "own": reporter.observation,
        "unknown": unknown,
        "renamed": renamed,
        "also in the package": [
            getattr(api, name) is getattr(reporter_module, name) for name in ("report", "Reporter")
        ],
    }
