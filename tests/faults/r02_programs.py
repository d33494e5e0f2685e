"""What is done with holdfast while the power is cut: scenarios, and what opens again what they have left.

Each part of a scenario is a process of its own, on the power-loss file system:

    python -m faults.r02_programs NAME PART LOCATION CONTROL LOGS SIZE

A state is known by its tag, a number that grows with every save. It is acknowledged in the moment in which the save is
done, before older snapshots are removed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from faults.powerloss.acks import acknowledge, tell
from faults.r02_uses import Extension, OneFile, Store, Use, fixed_name, hdf5, npz, retained, savefun, whole_trainer
from holdfast import keep
from holdfast.storage import syscalls

LARGE = 280_001  # numbers: a file of 1.1 MB, which goes past the page cache


class Run:
    """One process of a scenario.

    Attributes:
        use: what it does it with.
    """

    def __init__(self, use: Use, control: str, logs: str, part: int) -> None:
        self.use = use
        self._control = control
        self._log = os.path.join(logs, f"{part}.log")
        self._acknowledged = 0

    def save(self, tag: int, step: int | None = None) -> None:
        """Save a state, which must be acknowledged by then."""
        self.use.save(tag, partial(self._acknowledge, tag), step)
        assert self._acknowledged == tag, f"{tag} was saved, and not acknowledged"

    def say(self, what: str) -> None:
        """Acknowledge something else."""
        acknowledge(self._control, what)

    def lose_power_at(self, name: str, policy: str) -> None:
        """From here on, the power is cut right before the next call of `name`."""

        def cut(*arguments: object, **named: object) -> NoReturn:
            tell(self._control, f"dump {self._log}")
            tell(self._control, f"crash {policy}")
            os._exit(0)

        setattr(syscalls, name, cut)

    def _acknowledge(self, tag: int) -> None:
        acknowledge(self._control, tag)
        self._acknowledged = tag


Part = Callable[[Run], None]


@dataclass(frozen=True)
class Scenario:
    """What is done, and what must be left of it.

    Attributes:
        use: opens a folder; given that, and the size of states.
        parts: each is one process.
        kept: how many snapshots are left of those that were acknowledged, at least.
        size: numbers in a state, where it matters.
    """

    name: str
    use: Callable[..., Use]
    parts: Sequence[Part]
    kept: int = 1
    size: int | None = None

    @property
    def is_of_a_store(self) -> bool:
        """Whether it can be looked at without a trace."""
        return getattr(self.use, "func", self.use) is Store

    def opened(self, folder: str, size: int, *, readonly: bool = False) -> Use:
        """What looks at what is left, and goes on."""
        options = {"writer": "SimpleWriter", "readonly": readonly} if self.is_of_a_store else {}
        return self.use(folder, size, **options)


def saves(*tags: int) -> Part:
    """Save one after the other."""

    def part(run: Run) -> None:
        for tag in tags:
            run.save(tag)

    return part


def goes_on(resumed: int, *tags: int) -> Part:
    """Resume from a state, and save others."""

    def part(run: Run) -> None:
        found = run.use.resume()
        assert found == resumed, f"resumed from {found}, wanted {resumed}"
        saves(*tags)(run)

    return part


def replaces_one_step(run: Run) -> None:
    for tag in (1, 2):
        run.save(tag, step=7)


def pins_and_unpins(run: Run) -> None:
    assert isinstance(run.use, Store)
    run.save(1)
    run.use.store.pin(1)
    run.say("pinned:1")
    saves(2, 3)(run)
    run.say("unpinning:1")
    run.use.store.unpin(1)
    run.say("unpinned:1")
    run.save(4)


def prunes(run: Run) -> None:
    assert isinstance(run.use, Store)
    saves(1, 2, 3)(run)
    run.use.store.prune(keep.last(1))


def loses_power_while_saving(name: str, policy: str, resumed: int | None, saved: int, lost: int) -> Part:
    """Resume, save one, and lose the power in the next."""

    def part(run: Run) -> None:
        assert run.use.resume() == resumed
        run.save(saved)
        run.lose_power_at(name, policy)
        run.save(lost)

    return part


CUT_THREE_TIMES = (
    loses_power_while_saving("rename", "rand:1", None, 1, 2),
    loses_power_while_saving("fsync", "rand:2 journal", 1, 3, 4),
    loses_power_while_saving("rename", "sizes", 3, 5, 6),
    goes_on(5, 7),
)

_last_one = partial(Store, keep=keep.last(1))
_last_two = partial(Store, keep=keep.last(2))

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("first", partial(Store, below="made/for it"), [saves(1)]),
        Scenario("retention", _last_two, [saves(1, 2, 3, 4)], kept=2),
        Scenario("ThreadWriter", partial(_last_one, writer="ThreadWriter"), [saves(1, 2)]),
        Scenario("ThreadQueueWriter", partial(_last_one, writer="ThreadQueueWriter"), [saves(1, 2)]),
        Scenario("ProcessWriter", partial(_last_one, writer="ProcessWriter"), [saves(1, 2)]),
        Scenario("ProcessQueueWriter", partial(_last_one, writer="ProcessQueueWriter"), [saves(1, 2)]),
        Scenario("large", partial(_last_one, writer="ThreadWriter"), [saves(1, 2)], size=LARGE),
        Scenario("one file", OneFile, [saves(1, 2)]),
        Scenario("one step", Store, [replaces_one_step]),
        Scenario("one name", partial(Extension, files=fixed_name), [saves(1, 2)]),
        Scenario("pins", _last_one, [pins_and_unpins]),
        Scenario("prune", Store, [prunes]),
        Scenario("sub-directories", partial(_last_one, filename="of {step}/model/{step}"), [saves(1, 2)]),
        Scenario("extension", partial(Extension, files=retained), [saves(1, 2), goes_on(2, 3)], kept=2),
        Scenario("trainer", partial(Extension, files=whole_trainer), [saves(1, 2)], kept=2),
        Scenario("npz", partial(Extension, files=npz), [saves(1, 2, 3)], kept=2),
        Scenario("hdf5", partial(Extension, files=hdf5), [saves(1, 2)], kept=2),
        Scenario("savefun", partial(Extension, files=savefun), [saves(1, 2)], kept=2),
        Scenario("resumed", _last_two, [saves(1, 2), goes_on(2, 3)], kept=2),
        Scenario("cut three times", _last_two, CUT_THREE_TIMES, kept=2),
    )
}


def main(name: str, part: str, location: str, control: str, logs: str, size: str) -> None:
    """Carry out one part of a scenario."""
    scenario = SCENARIOS[name]
    use = scenario.use(location, int(size))
    try:
        scenario.parts[int(part)](Run(use, control, logs, int(part)))
    finally:
        use.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
