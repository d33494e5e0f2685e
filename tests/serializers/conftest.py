from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from chainer_links import names_in
from holdfast import serializers

FILLING = """
import resource, signal
import numpy as np
import holdfast
from holdfast.serializers import {save} as save

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python has it; else the limit ends the process
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save({path!r}, {{"a": np.random.default_rng(0).random(100_000)}})
except holdfast.CommitError as error:
    print("CommitError", error)
"""


@dataclass(frozen=True)
class FileFormat:
    """A kind of file that has Chainer's layout.

    Attributes:
        save, load: its two functions.
        names: the names of everything in a file, sorted.
    """

    save: Callable[..., None]
    load: Callable[..., None]
    names: Callable[[Any], list[str]]


def names_in_npz(path):
    with np.load(path) as file:
        return sorted(file)


FORMATS = {
    "npz": FileFormat(serializers.save_npz, serializers.load_npz, names_in_npz),
    "hdf5": FileFormat(serializers.save_hdf5, serializers.load_hdf5, names_in),
}


@pytest.fixture(params=FORMATS)
def file_format(request):
    """Each of the formats in turn."""
    if request.param == "hdf5":
        pytest.importorskip("h5py")
    return FORMATS[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def on_a_full_disk():
    """Saves 800 kB where files end at 100 kB, in a process of its own, and gives what was printed. The process must
    live on: a library may end it where it cannot write."""

    def run(save, path):
        program = FILLING.format(save=save.__name__, path=str(path))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
