"""Who learns that a node is about to go: the pool looks for all, and while it is away each worker looks by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from .errors import Unavailable

log = logging.getLogger("rubato.draining")

LOOK = 1.0  # seconds between two looks
WAIT = 30.0  # seconds that one question may wait: of a worker that has died it stays that long
LATE = 5.0  # seconds after which an answer that is due does not come any more

Look = Callable[[], Awaitable[Mapping[str, float]]]  # the nodes that are about to go, and in how many seconds


class Notices:
    """What the pool knows: one look every second, however many ask."""

    def __init__(self, look: Look, every: float = LOOK, clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._every = every
        self._clock = clock
        self._ends: dict[str, float] = {}  # node to when it goes, by the clock
        self._news = asyncio.Event()  # set, and another in its place, when a further node drains

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            found = await looked(self._look)
            if found is not None:
                self._hear(found)
            await asyncio.sleep(self._every)

    def draining(self) -> dict[str, float]:
        """The nodes that are about to go, as the last look had it."""
        now = self._clock()
        return {node: max(0.0, ends - now) for node, ends in self._ends.items()}

    async def notice(self, node: str, wait: float) -> float | None:
        """In how many seconds the node goes, as soon as it is known that it does; None if it is not after so long."""
        try:
            async with asyncio.timeout(wait):
                while node not in self._ends:
                    await self._news.wait()
        except TimeoutError:
            return None
        return self.draining()[node]

    def _hear(self, found: Mapping[str, float]) -> None:
        now = self._clock()
        more = found.keys() - self._ends.keys()
        self._ends = {node: now + left for node, left in found.items()}
        for node in more:
            log.warning("node %s goes in %.0f s", node, found[node])
        if more:
            self._news.set()
            self._news = asyncio.Event()


class Noticing(Protocol):
    """The pool, as a worker asks it. Each method raises Unavailable while it is away."""

    async def notice(self, node: str, wait: float) -> float | None: ...

    async def there(self) -> None:
        """Returns once it answers."""


class Lookout:
    """How a worker learns that its node goes."""

    def __init__(self, node: str, pool: Noticing, look: Look, every: float = LOOK) -> None:
        self._node = node
        self._pool = pool
        self._look = look
        self._every = every

    async def run(self, tell: Callable[[float], None]) -> None:
        """Tell in how many seconds the node goes, at once and again every so often: the time may become shorter.
        Lasts until cancelled."""
        while True:
            tell(await self.noticed())
            await asyncio.sleep(self._every)

    async def noticed(self) -> float:
        """In how many seconds the node goes, once that is known."""
        while True:
            try:
                async with asyncio.timeout(WAIT + LATE):
                    left = await self._pool.notice(self._node, WAIT)
            except (Unavailable, TimeoutError):
                left = await self._look_meanwhile()
            if left is not None:
                return left

    async def _look_meanwhile(self) -> float | None:
        """The same, looked for here; None once the pool is there again."""
        there = asyncio.create_task(_answers(self._pool))
        try:
            while not (there.done() and there.result()):
                if there.done():
                    there = asyncio.create_task(_answers(self._pool))
                left = (await looked(self._look) or {}).get(self._node)
                if left is not None:
                    return left
                await asyncio.sleep(self._every)
            return None
        finally:
            there.cancel()


async def looked(look: Look) -> Mapping[str, float] | None:
    """What there is to see; None where nobody says."""
    try:
        return await look()
    except Exception as error:  # noqa: BLE001 - Ray's, whose GCS may be away
        log.warning("nobody says which nodes are about to go: %s", error)
        return None


async def _answers(pool: Noticing) -> bool:
    try:
        await pool.there()
    except Unavailable:
        return False
    return True
