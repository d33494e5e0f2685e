"""Runs the cases of some modules in one host, in an interpreter without pytest: `run_cases.py HOST FOLDER MODULE...`.

Prints a JSON object: of each case its name, and "" or the traceback of what it raised.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from compat.hosts.adapters import Host, host_named

Case = Callable[[Host, Path], None]


def cases_of(module: ModuleType) -> list[Case]:
    """Its own public functions."""
    return [
        one
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and not name.startswith("_")
    ]


def main(host: str, folder: str, *modules: str) -> None:
    outcomes = {}
    for name in modules:
        for case in cases_of(importlib.import_module(f"compat.hosts.{name}")):
            try:
                case(host_named(host), Path(folder) / case.__name__)
                outcomes[case.__name__] = ""
            except Exception:  # noqa: BLE001  whatever it is, the test of this case shows it
                outcomes[case.__name__] = traceback.format_exc()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
