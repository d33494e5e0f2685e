"""One flipped bit in what a library saved: does it load, and what does it give?

The library runs in a process of its own, which notes each verdict: a damaged file may take the process along.
"""

from __future__ import annotations

import logging
import random
import shutil
import warnings
from collections import Counter
from pathlib import Path

from faults.campaigns import Call, Outcome
from faults.peers_savers import BESIDE, SAVERS, path_of, state_of, step_of

REFUSED, WRONG, SAME, DIED = "refused", "wrong", "same", "died"


def flips(name: str, *, count: int, seed: int, folder: Path) -> Outcome:
    """Flip one random bit, `count` times, and load. Bad is what loads and is not what was saved."""
    notes = folder / "verdicts"
    notes.touch()
    while (done := len(notes.read_text().splitlines())) < count:
        try:
            Call(load_flipped, (name, done, count, seed, str(folder))).result()
        except RuntimeError as error:
            if " ended with -" not in str(error):  # not by a signal
                raise
            with notes.open("a") as file:  # at the one that has no verdict
                file.write(f"{DIED} the process ended\n")
    lines = notes.read_text().splitlines()
    verdicts = Counter(line.partition(" ")[0] for line in lines)
    bad = [f"{name}: {line.partition(' ')[2]}" for line in lines if line.startswith(WRONG)]
    more = {SAME: "load as if nothing were wrong", DIED: "end the process"}
    said = [f"{verdicts[kind]} {words}" for kind, words in more.items() if verdicts[kind]]
    return Outcome(len(lines), tuple(bad), bad_count=len(bad), notes=", ".join(said))


def load_flipped(name: str, start: int, count: int, seed: int, folder: str) -> None:
    """In a process of its own: the flips from `start` on."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    saver, place = SAVERS[name](), Path(folder) / "saved"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    path = path_of(saver, place, 1, BESIDE)
    saver.save(path, state_of(1))
    files = sorted(one for one in place.rglob("*") if one.is_file() and one.stat().st_size)
    sizes = [one.stat().st_size for one in files]
    chance = random.Random(seed)
    with (Path(folder) / "verdicts").open("a") as notes:
        for number in range(count):
            file, bit = chance.choices(files, sizes)[0], chance.random()
            if number < start:
                continue
            whole = file.read_bytes()
            at, mask = int(bit * len(whole)), 1 << int(bit * len(whole) * 8) % 8
            file.write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
            try:
                verdict = SAME if step_of(saver.load(path)) == 1 else WRONG
            except Exception:  # noqa: BLE001  libraries raise what they like
                verdict = REFUSED
            notes.write(f"{verdict} bit {mask.bit_length() - 1} of byte {at} of {file.name}\n")
            notes.flush()
            file.write_bytes(whole)
