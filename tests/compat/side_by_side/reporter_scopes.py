"""report_scope and get_current_reporter."""

from __future__ import annotations

import threading

from compat.side_by_side.support import kind_raised

DIFFERS = {
    # An IndexError of a list that nobody knows of says nothing.
    "none is current": ["IndexError", "RuntimeError"],
    # Chainer goes on writing into the observation of a scope that was left by an error.
    "after an error": [{"inside": 1, "after": 2}, {"inside": 1}],
}


def main(api, out):
    reporter_module = api.reporter
    reporter, observation, inner = reporter_module.Reporter(), {}, {}
    with reporter:
        with reporter_module.report_scope(observation):
            reporter_module.report({"x": 1})
            with reporter_module.report_scope(inner):
                reporter_module.report({"x": 2})
            reporter_module.report({"y": 3})
        current = reporter_module.get_current_reporter() is reporter
        seen_elsewhere = []
        thread = threading.Thread(
            target=lambda: seen_elsewhere.append(kind_raised(reporter_module.get_current_reporter))
        )
        thread.start()
        thread.join()
    failed, failing = {}, reporter_module.Reporter()
    with failing:
        try:
            with reporter_module.report_scope(failed):
                reporter_module.report({"inside": 1})
                raise ZeroDivisionError
        except ZeroDivisionError:
            reporter_module.report({"after": 2})
    return {
        "observation": observation,
        "inner": inner,
        "current": current,
        "in another thread": seen_elsewhere[0] is not None,
        "none is current": kind_raised(reporter_module.get_current_reporter),
        "after an error": failed,
    }
