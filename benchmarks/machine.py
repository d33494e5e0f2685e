"""The machine that a run was made on, and the versions, in words."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("holdfast", "torch", "numpy", "jax", "safetensors", "torchsnapshot", "lightning", "orbax-checkpoint",
            "pytorch-pfn-extras")  # fmt: skip


def describe(folder: Path) -> dict[str, str]:
    """Processor, memory, kernel, the file system that `folder` is on, versions."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} processors",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file system": _file_system(folder),
        "Python": sys.version.split()[0],
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _file_system(folder: Path) -> str:
    best = ("", "unknown")
    place = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, at, kind, options, *_ = line.split()
        if (place == at or place.startswith(at.rstrip("/") + "/")) and len(at) >= len(best[0]):
            best = (at, f"{kind} ({options})")
    return best[1]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
