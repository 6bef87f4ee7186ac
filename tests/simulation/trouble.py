"""The dice that decide when a store is slow, refuses, or breaks in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from cluster.errors import Unavailable
from cluster.store import Writes

Committed = Callable[[Writes, int], None]  # what was committed, by which generation


class Trouble:
    """One for each schedule. `committed` hears of each commit, in the moment in which it happens."""

    def __init__(self, roll: Random, now: Callable[[], float]) -> None:
        self._roll = roll
        self._now = now
        self.quiet = False
        self.committed: Committed = lambda writes, generation: None
        self.power_lost: Callable[[int], None] = lambda generation: None  # hears whose machine went down
        self.odds = roll.choice((0.0, 0.02, 0.1))  # that a commit, or a statement of it, fails
        self.slow = roll.choice((0.0, 0.0, 0.05, 0.3))  # how often the disk takes its time
        self.refuses_until = 0.0
        self.silent_until = 0.0  # nothing can be read either

    async def pause(self) -> None:
        """What lies between two awaits of a real store."""
        for _ in range(self._roll.choice((0, 0, 1, 2))):
            await asyncio.sleep(0)
        if not self.quiet and self._roll.random() < self.slow:
            await asyncio.sleep(self._roll.random() * 0.2)

    def fails(self) -> bool:
        """Whether this statement does."""
        return not self.quiet and (self._roll.random() < self.odds or self._now() < self.refuses_until)

    def takes(self) -> float:
        """The seconds that a commit took, as the store believes: it goes by that, and must not go by our clock."""
        return self._roll.choice((0.0, 0.0, 0.0, 0.0042))

    def cuts(self) -> int | None:
        """At which of its changes of files a commit is the machine's last, if it is."""
        if self.quiet or self._roll.random() >= self.odds:
            return None
        return self._roll.randrange(12)

    def keeps(self) -> Callable[[], bool]:
        """Of what was not synced: nothing, some of it, or all."""
        odds = self._roll.choice((0.0, 0.5, 1.0))
        return lambda: self._roll.random() < odds

    def check_read(self) -> None:
        """Raises Unavailable where nothing can be read."""
        if not self.quiet and self._now() < self.silent_until:
            raise Unavailable("told to be silent")
