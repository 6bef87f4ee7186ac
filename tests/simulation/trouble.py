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
        self.at_commit: Callable[[], None] = lambda: None  # what a test does at the racing line
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

    def check_read(self) -> None:
        """Raises Unavailable where nothing can be read."""
        if not self.quiet and self._now() < self.silent_until:
            raise Unavailable("told to be silent")
