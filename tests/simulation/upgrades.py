"""New versions of the code, which come while others run: their workers beside the old ones, and what these leave."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import chain
from random import Random
from typing import TYPE_CHECKING

from cluster.ledger import Ledger
from cluster.older import Serving, stranded
from cluster.worker import only_begun

if TYPE_CHECKING:
    from .workers import SimWorker
    from .world import World

WHY = "none is left"
LOOK = 1.0  # seconds between two looks at what waits for a version in vain


class Upgrades:
    """By dice of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._roll = Random(world.roll.random())

    async def run(self) -> None:
        """Some, each a while after the one before."""
        world, roll = self._world, self._roll
        for _ in range(roll.choice((1, 1, 2, 3))):
            await asyncio.sleep(roll.random() * 6)
            if world.quiet:
                return
            world.version += 1
            world.note(f"version {world.version} comes")
            for worker in list(world.workers.values()):
                worker.outlive()
                world.loop.spawn(world.outside, self._end(worker, roll.choice((0.0, 2.0, 30.0))))
            world.staff()

    async def _end(self, worker: SimWorker, after: float) -> None:
        """Old ones stay for a while, not for ever."""
        await asyncio.sleep(after)
        if worker.id in self._world.workers:
            self._world.drain(worker)

    async def keep_releasing(self) -> None:
        """As the pool does."""
        world = self._world
        while True:
            await asyncio.sleep(LOOK)
            demands = await world.insist(lambda ledger: ledger.demand())
            there = [worker for worker in world.workers.values() if not worker.leaving]
            current = [_serving(worker) for worker in there if worker.version == world.version]
            old = [_serving(worker) for worker in there if worker.version != world.version]
            for each in stranded(demands, (), current, old):
                lane = each.agent, each.lane
                world.note(f"nobody is left for {lane}")
                await world.insist(partial(_release, lane))


def _serving(worker: SimWorker) -> Serving:
    own = only_begun(worker.made)
    return Serving(own.versions, tuple(chain(*own.lines.values())), worker.made.slots)


async def _release(lane: tuple[str, str], ledger: Ledger) -> int:
    return await ledger.release(*lane, WHY)
