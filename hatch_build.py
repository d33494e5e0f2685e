"""What an installation compiles, where there is a C compiler: one small library, without which holdfast is slower."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "src/holdfast/state/memcopy.c"
LIBRARY = "holdfast/state/libmemcopy.so"


class Compile(BuildHookInterface):  # type: ignore[type-arg]
    """Puts libmemcopy.so into a wheel, or beside its source where the installation is an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or sys.platform == "win32":
            return
        source = Path(self.root, SOURCE)
        if version == "editable":
            library = source.with_name("libmemcopy.so")
            library.unlink(missing_ok=True)  # of an earlier source
        else:
            self._folder = tempfile.TemporaryDirectory(prefix="holdfast")  # kept until the wheel is there
            library = Path(self._folder.name, "libmemcopy.so")
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        command = [*compiler, "-std=c11", "-O2", "-fPIC", "-shared", "-pthread", "-o", str(library), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or error
            self.app.display_warning(f"{SOURCE} was not compiled, and copies of the state take longer: {why}")
            return
        if version != "editable":
            build_data["force_include"][str(library)] = LIBRARY
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
