"""The goals, one row each, out of the samples of a run. Pure.

A sample is a dict with "what"; saving.py, growth.py, peak.py and loop.py say which fields each kind has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

from contestants import COPYING, LIGHTNING, NONE, OURS, PEERS, SHIPPED, TORCHSNAPSHOT, TUNED, WRITERS
from ratios import Row, Spread, fastest, flatness, paired, spread

Sample = dict[str, Any]
Samples = list[Sample]
MIB = 1 << 20
FIXED_S = 0.0005  # what a snapshot of nothing may take
NOTHING = 4096  # bytes of a state: what its snapshot takes is what every one takes, whatever its size


def rows(samples: Samples) -> list[Row]:
    """Every goal, in the order of the project's list; what was not measured says so."""
    return [*_saving(samples), *_against_peers(samples), *_restoring(samples), *_small(samples), *_memory(samples),
            *_loop(samples), *_growth(samples)]  # fmt: skip


def chosen(samples: Samples, what: str, **fields: Any) -> Iterator[Sample]:
    """Samples of a kind whose fields have these values; rounds that warm up are left out."""
    for sample in samples:
        if sample["what"] == what and sample.get("round", 1) and all(sample.get(k) == v for k, v in fields.items()):
            yield sample


def rounds(found: Iterable[Sample], value: str | Callable[[Sample], float]) -> dict[int, float]:
    """Round -> a field of it, or what a function makes of its fields."""
    return {one["round"]: one[value] if isinstance(value, str) else value(one) for one in found}


def _saves(samples: Samples, name: str, field: str, state: str = "a") -> dict[int, float]:
    return rounds(chosen(samples, "save", state=state, contestant=name), field)


def _saving(samples: Samples) -> Iterator[Row]:
    for name in (OURS, *(name for name in WRITERS if name not in (OURS, "holdfast Simple"))):
        found = list(chosen(samples, "save", state="a", contestant=name))
        yield Row(f"stall, warm / one memcpy: {name}", spread(s["stall_s"] / s["memcpy_s"] for s in found), 1.15)
    ours = list(chosen(samples, "save", state="a", contestant=OURS))
    bare = spread(s["stall_s"] / s["floor_s"] for s in ours)
    yield Row(f"stall, warm / a bare copy by all processors: {OURS}", bare, None)
    idle = spread(s["stall_s"] / s["idle_floor_s"] for s in ours)
    yield Row("the same, into memory that lay idle as long as holdfast's", idle, None)
    firsts = [s["stall_s"] / s["memcpy_s"] for s in chosen(samples, "first", warmed=True) if s["prepared"]]
    why = "" if firsts else _why(samples, "prepare")
    yield Row("stall of the first snapshot after 2 s of warm-up / one memcpy", spread(firsts), 1.5, note=why)
    for name in (OURS, *(name for name in WRITERS if name != OURS)):
        found = list(chosen(samples, "save", state="a", contestant=name))
        ratios = [s["fsynced_s"] / (s["memcpy_s"] + s["raw_write_s"]) for s in found if "raw_write_s" in s]
        yield Row(f"call until acknowledged / (one memcpy + raw O_DIRECT write + fsync): {name}", spread(ratios), 1.15)


def _against_peers(samples: Samples) -> Iterator[Row]:
    stall, fsynced = _saves(samples, OURS, "stall_s"), _saves(samples, OURS, "fsynced_s")
    for peer, limit in ((SHIPPED, 0.25), (TORCHSNAPSHOT, 0.25), (LIGHTNING, 0.35), (TUNED, 0.8)):
        theirs = _saves(samples, peer, "stall_s")
        yield Row(f"stall / {peer}", paired(stall, theirs), limit, note=_why(samples, peer))
        floor = paired(_saves(samples, peer, "floor_s"), theirs)
        yield Row(f"its floor: a bare copy by all processors / {peer}", floor, None)
    theirs = _saves(samples, TUNED, "fsynced_s")
    yield Row(f"until fsynced / {TUNED}", paired(fsynced, theirs), 0.4)
    ours = (s for s in chosen(samples, "save", state="a", contestant=OURS) if "raw_write_s" in s)
    floor = paired(rounds(ours, lambda s: s["floor_s"] + s["raw_write_s"]), theirs)
    yield Row(f"its floor: (a bare copy + raw O_DIRECT write + fsync) / {TUNED}", floor, None)
    best = fastest(_saves(samples, peer, "fsynced_s") for peer in PEERS)
    yield Row("until fsynced / the fastest of all peers in that round", paired(fsynced, best), 0.95)


def _restoring(samples: Samples) -> Iterator[Row]:
    def found(heat: str, into: str) -> Iterator[Sample]:
        return chosen(samples, f"restore {heat}", state="a", contestant=OURS, into=into)

    for into, words, limit in (("touched", "touched tensors", 2.5), ("model", "a model with a fresh optimizer", 5.0)):
        ratios = spread(s["seconds"] / s["memcpy_s"] for s in found("warm", into))
        yield Row(f"restore, verified first, warm, into {words} / one memcpy", ratios, limit)
    cold = spread(s["seconds"] / (s["raw_read_s"] + s["memcpy_s"]) for s in found("cold", "touched"))
    yield Row("restore, verified first, cold, into touched tensors / (raw O_DIRECT read + one memcpy)", cold, 1.3)
    extra = (s["peak_bytes"] / MIB for s in chosen(samples, "memory of restore", state="a", contestant=OURS))
    yield Row("peak extra memory of a cold restore", spread(extra), None, unit="MiB")


def _small(samples: Samples) -> Iterator[Row]:
    stall = _saves(samples, OURS, "stall_s", "b")
    yield Row("50,000 leaves of 1 KiB: stall", spread(stall.values()), 0.15, unit="s")
    yield Row("50,000 leaves: stall / torch.save", paired(stall, _saves(samples, "torch.save", "stall_s", "b")), 0.1)

    def restores(name: str) -> dict[int, float]:
        return rounds(chosen(samples, "restore warm", state="b", contestant=name), "seconds")

    yield Row("50,000 leaves: restore / torch.load", paired(restores(OURS), restores("torch.save")), 0.1)


def _memory(samples: Samples) -> Iterator[Row]:
    for name in (OURS, *(name for name in WRITERS if name != OURS)):
        found = list(chosen(samples, "memory", state="a", contestant=name, after=1))
        share = spread(s["peak_bytes"] / (1.02 * s["size_bytes"] + 64 * MIB) for s in found)
        yield Row(f"peak memory above the state / (1.02 x state + 64 MiB): {name}", share, 1.0)
    for name in WRITERS:
        found = [s for s in chosen(samples, "memory", contestant=name) if s["state"].startswith("bytes:")]
        peaks = {s["after"]: s["peak_bytes"] for s in found}
        grown = spread([peaks[100] / peaks[1]] if {1, 100} <= set(peaks) else [])
        if grown is not None or name == OURS:
            note = f"a state of {found[0]['size_bytes'] // MIB} MiB" if found else ""
            yield Row(f"peak memory after 100 snapshots / after 1: {name}", grown, 1.02, note=note)


def _loop(samples: Samples) -> Iterator[Row]:
    def seconds(name: str) -> dict[int, float]:
        return {s["slice"]: s["seconds"] for s in chosen(samples, "loop", contestant=name)}

    ours = seconds(OURS)
    yield Row("training loop, snapshot every 20 steps / no snapshots", paired(ours, seconds(NONE)), 1.05)
    for peer in COPYING:
        yield Row(f"training loop / the same with {peer}", paired(ours, seconds(peer)), 1.0)


def _growth(samples: Samples) -> Iterator[Row]:
    what, taken_off = "growth by bytes: dearest / cheapest", "(stall - 0.5 ms) per byte"
    found = list(chosen(samples, "bytes", spinning=False))
    nothing = [s["stall_s"] for s in found if s["size_bytes"] == NOTHING]
    found = [s for s in found if s["size_bytes"] > NOTHING]
    yield _grown(f"{what} {taken_off}", found, "stall_s", FIXED_S, 1.3)
    yield _grown("the same, if the stall were a bare copy by all processors", found, "floor_s", FIXED_S, None)
    fixed_s = median(nothing) if nothing else 0.0
    words = f"(stall - what a state of {NOTHING // 1024} KiB takes, {1000 * fixed_s:.2f} ms) per byte"
    yield _grown(f"{what} {words}", found if nothing else [], "stall_s", fixed_s, None)
    yield _grown(f"{what} bare copy per byte", found, "floor_s", 0.0, None)
    spinning = [s for s in chosen(samples, "bytes", spinning=True) if s["size_bytes"] > NOTHING]
    yield _grown(f"{what} {taken_off}, while torch's threads spin", spinning, "stall_s", FIXED_S, None)
    counts = sorted({sample["leaves"] for sample in chosen(samples, "leaves")})
    for count in counts or [100, 1_000, 10_000, 100_000]:
        ratios = spread(s["stall_s"] / s["bare_s"] for s in chosen(samples, "leaves", leaves=count))
        yield Row(f"stall / (bare walk + _foreach_copy_), {count:,} leaves of 1 KiB", ratios, 1.5)


def _grown(what: str, found: Samples, field: str, fixed_s: float, most: float | None) -> Row:
    """How much dearer a byte is at one size than at another."""
    costs: dict[int, list[float]] = {}
    for sample in found:
        costs.setdefault(sample["size_bytes"], []).append((sample[field] - fixed_s) / sample["size_bytes"])
    sizes = f"{min(costs) // MIB} MiB to {max(costs) // MIB} MiB" if costs else ""
    return Row(what, Spread((flatness(costs),)) if len(costs) > 1 else None, most, note=sizes)


def _why(samples: Samples, name: str) -> str:
    return next((s["why"] for s in samples if s["what"] == "absent" and s["contestant"] == name), "")
