"""What saves while the process is killed or the power is cut: `-m faults.peers_programs SAVER MODE FOLDER [CONTROL]`.

With a control file of the power-loss file system it saves three times and acknowledges each. Without one it saves once,
says "ready", waits for a line, and saves again.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from faults.peers_savers import SAVERS, path_of, state_of

STEPS = 3


def main(name: str, mode: str, folder: str, control: str = "") -> None:
    warnings.simplefilter("ignore")  # libraries' own, which are no matter here
    saver = SAVERS[name]()

    def save(step: int) -> None:
        saver.save(path_of(saver, Path(folder), step, mode), state_of(step))

    if control:
        for step in range(1, STEPS + 1):
            save(step)
            with open(control, "w", encoding="utf-8") as file:
                file.write(f"ack {step}\n")
        return
    save(1)
    print("ready", flush=True)
    sys.stdin.readline()
    save(2)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
