"""Writes the golden file of the present format version, once: a file that exists is never written again.

python tests/golden/make_golden.py

Readers must read these files for ever; a format version that changes anything gets a file, and a tree, of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PATH = FOLDER / "version_1.safetensors"


def make(path: Path) -> None:
    """Write the file of version_1.py.

    Raises:
        FileExistsError: it is there already.
    """
    from format.handmade import file_of
    from golden import version_1

    content = file_of(version_1.every_kind(), version_1.FACTS, version_1.METADATA)
    with open(path, "xb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent))
    make(PATH)
    print(f"{PATH}: {PATH.stat().st_size} bytes")
