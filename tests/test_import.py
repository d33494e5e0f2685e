"""What `import holdfast` costs, and what it leaves alone; each import is tried in an interpreter of its own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

LIMIT_S = 0.050  # beyond numpy
INTERPRETERS = 9

MEASURE = """
import time
import numpy
begun = time.perf_counter()
import holdfast
print(time.perf_counter() - begun)
"""


def run(program: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_importing_holdfast_loads_no_framework_and_nothing_that_is_slow():
    left_alone = "torch jax rich click h5py matplotlib ml_dtypes safetensors importlib.metadata".split()
    loaded = run("import sys, holdfast\nprint(*sys.modules)").split()
    assert "holdfast" in loaded
    assert [name for name in left_alone if name in loaded] == []


def test_every_public_name_is_there_without_loading_a_framework():
    program = """
import sys
import holdfast
from holdfast import iterators, serializers, training, writers
from holdfast.training import extensions, triggers, updaters
for module in (holdfast, iterators, serializers, training, writers, extensions, triggers, updaters):
    assert module.__doc__, module
    for name in getattr(module, "__all__", ()):
        getattr(module, name)
print(*[name for name in ("torch", "jax", "click", "h5py") if name in sys.modules])
"""
    assert run(program).split() == []


def test_importing_holdfast_costs_at_most_50_ms_beyond_numpy():
    run(MEASURE)  # compiles what has changed, as the first import of an installation does
    times = sorted(float(run(MEASURE)) for _ in range(INTERPRETERS))
    median = statistics.median(times)
    print(f"import holdfast: {1000 * median:.1f} ms beyond numpy (median of {INTERPRETERS})")
    assert median <= LIMIT_S, f"{1000 * median:.1f} ms, of {[f'{1000 * t:.1f}' for t in times]}"


def test_a_name_that_is_not_there_is_an_attribute_error_and_dir_lists_what_is():
    program = """
import holdfast
assert set(holdfast.__all__) <= set(dir(holdfast))
try:
    holdfast.nothing
except AttributeError as error:
    print(error)
"""
    assert run(program) == "module 'holdfast' has no attribute 'nothing'\n"
