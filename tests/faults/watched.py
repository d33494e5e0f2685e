"""System calls that are looked at as they are made, and a death before any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faults.injection import Call, Crash, Faults


class Watched(Faults):
    """Faults with one more block."""

    @contextmanager
    def watch(
        self, before: Callable[[Call], object], after: Callable[[Call], object], crash_at: int = 0
    ) -> Iterator[None]:
        """Hand each call of the block over right before it is made, and again once it has returned without an error.

        Args:
            before, after: must not raise, since the code between here and the test may well catch what they do.
            crash_at: die right before this call, counted from 1 whatever their names; 0: live. A block with fewer calls
                lives.
        Raises:
            Crash: the process has died.
        """
        made = 0
        dead = False

        def step(call: Call, make: Callable[[], Any]) -> Any:
            nonlocal made, dead
            made += 1
            dead = dead or made == crash_at
            if dead:
                raise Crash(f"before {call.name} {call.ordinal}")
            before(call)
            result = make()
            after(call)
            return result

        try:
            with self._armed(step):
                yield
        finally:
            if dead:
                self.bury()

    def bury(self) -> None:
        """Lose what a dead process loses: its descriptors and locks."""
        self._bury()
