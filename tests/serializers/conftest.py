from __future__ import annotations

import subprocess
import sys

import pytest

FILLING = """
import resource, signal
import numpy as np
import holdfast

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python has it; else the limit ends the process
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(path, {"a": np.random.default_rng(0).random(100_000)})
except holdfast.CommitError as error:
    print("CommitError", error)
"""


@pytest.fixture
def on_a_full_disk():
    """Runs a program that defines `save` and `path`, saves 800 kB there where files end at 100 kB, and gives what it
    printed. The process must live on: a library may end it where it cannot write."""

    def run(program: str) -> str:
        done = subprocess.run([sys.executable, "-c", program + FILLING], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
