"""Who kills whom, and when: by the dice of a seed, until it is over."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psutil

from cluster import processes
from tests.processes import title_of

Kill = Callable[[], Awaitable[bool]]  # says whether there was anybody to kill

PAUSE = (0.4, 2.0)  # seconds between two kills
OFTEN = {"worker": 3.0, "raylet": 0.5}  # there are several workers; and what runs on the second node must get on


class Killer:
    """Each kind of victim once, in a random order, then whichever the dice say; nobody who is on the way back."""

    def __init__(self, roll: random.Random, kinds: dict[str, Kill]) -> None:
        self._roll = roll
        self._kinds = kinds
        self._busy: set[str] = set()
        self._first: list[str] = []
        self.kills: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Kill for so long, and return when all are back that do not come back by themselves."""
        ends = time.monotonic() + seconds
        self._first = self._roll.sample(sorted(self._kinds), len(self._kinds))
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._roll.uniform(*PAUSE))
                if time.monotonic() > ends:
                    return
                kind = self._first.pop() if self._first else self._any()
                self._busy.add(kind)
                group.create_task(self._kill(kind))

    def _any(self) -> str:
        kinds = sorted(self._kinds.keys() - self._busy)
        return self._roll.choices(kinds, [OFTEN.get(kind, 1.0) for kind in kinds])[0]

    async def _kill(self, kind: str) -> None:
        if await self._kinds[kind]():
            self.kills[kind] += 1
        elif not self.kills[kind]:
            self._first.insert(0, kind)  # it was just away
        self._busy.discard(kind)


def actor(cluster: str, name: str, roll: random.Random) -> Kill:
    """SIGKILL for one of the processes that run an actor of this class, wherever in its life it is."""
    title = re.compile(rf"ray::{name}(\.| |$)")

    async def kill() -> bool:
        found = await asyncio.to_thread(
            lambda: [each for each in processes.marked(cluster) if title.match(title_of(each))]
        )
        if found:
            with suppress(psutil.NoSuchProcess):
                roll.choice(sorted(found, key=lambda each: each.pid)).kill()
                return True
        return False

    return kill


def restarted(kill: Callable[[], None], restart: Callable[[], None], roll: random.Random, away: float) -> Kill:
    """One that is not started again by itself: for up to `away` seconds it is not there."""

    async def both() -> bool:
        await asyncio.to_thread(kill)
        await asyncio.sleep(roll.uniform(0, away))
        await asyncio.to_thread(restart)
        return True

    return both
