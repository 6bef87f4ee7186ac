"""A pool with workers and a ledger that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from agents import Resources
from agents.resources import MARKET_LABEL
from cluster.client import Demand
from cluster.errors import Unavailable
from cluster.kinds import Kind
from cluster.nodekinds import NodeKind
from cluster.older import Serving
from cluster.pool import Death, Found, Ground, Pool, StartFailed
from cluster.situation import Rules

HERE = NodeKind("here", {"CPU": 4}, min_nodes=1, max_nodes=1)
SPOT = NodeKind("spot", {"CPU": 1}, {MARKET_LABEL: "spot"}, price=0.1, max_nodes=9)
STEADY = NodeKind("steady", {"CPU": 1}, price=0.3, max_nodes=9)
FIXED = Kind("cpu1", ("m:Little",), {"little": 3}, Resources(cpus=1), 2, 2)
ELASTIC = Kind("cpu1", ("m:Little",), {"little": 3}, Resources(cpus=1), 0, 8)
SLOW = 30.0  # seconds of a task


class Fleet:
    """Workers that live until the test ends them, or the pool does."""

    def __init__(self, *alive: Found, kinds: tuple[NodeKind, ...] = (HERE,)) -> None:
        self._alive = list(alive)
        self.kinds = kinds
        self.leaving: frozenset[str] = frozenset()
        self.deaths: dict[str, asyncio.Future[Death]] = {}
        self.where: dict[str, str] = {}  # worker to the kind of node that it was asked for on
        self.lost: set[str] = set()  # of those that were there
        self.refusals = 0
        self.hung: set[str] = set()  # kinds of nodes that do not come
        self.withdrawn: list[str] = []
        self.drained: list[tuple[str, float | None]] = []
        self.serving: dict[str, Serving] = {}  # what a worker says that it has
        self.silent: set[str] = set()  # workers that do not say it
        self.slow: set[str] = set()  # of those that were there, who do not answer yet
        self.told: list[tuple[str, bool]] = []

    @property
    def started(self) -> list[str]:
        return list(self.where)

    async def ground(self) -> Ground:
        return Ground(self.kinds, self.leaving)

    def alive(self) -> list[Found]:
        return self._alive

    async def start(self, id: str, kind: Kind, node: NodeKind) -> str:
        if self.refusals:
            self.refusals -= 1
            raise StartFailed("setup raised ValueError: no model")
        self.where[id] = node.name
        try:
            while node.name in self.hung:
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.withdrawn.append(id)
            raise
        return f"node of {id}"

    async def join(self, found: Found) -> str:
        if found.id in self.lost:
            raise StartFailed("its node does not answer")
        try:
            while found.id in self.slow:
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.withdrawn.append(found.id)
            raise
        return f"node of {found.id}"

    async def watch(self, id: str) -> Death:
        self.deaths[id] = asyncio.get_running_loop().create_future()
        return await self.deaths[id]

    async def serve(self, id: str, *, old: bool) -> Serving:
        self.told.append((id, old))
        while id in self.silent:
            await asyncio.sleep(0.001)
        return self.serving.get(id, Serving())

    async def drain(self, id: str, within: float | None) -> None:
        self.drained.append((id, within))
        if within is None and not self.deaths[id].done():
            self.deaths[id].set_result(Death(fault=False, detail="it ended as it was asked to"))


class Ledger:
    """Says what it is told to, and keeps what it is told."""

    def __init__(self, **held: int) -> None:
        self.held = held
        self.work: tuple[Demand, ...] = ()
        self.lost: list[tuple[str, bool]] = []
        self.refusals = 0
        self.trouble = Unavailable("the store does not answer")
        self.released: list[tuple[str, str]] = []

    def queue(self, queued: int, running: int = 0, lane: str = "") -> None:
        self.work = (Demand("little", lane, queued, running, 0, 0.0, SLOW, 0.0, ()),) if queued or running else ()

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        self._refuse()
        self.lost.append((worker, fault))

    async def holders(self) -> dict[str, int]:
        self._refuse()
        return self.held

    async def demand(self) -> tuple[Demand, ...]:
        self._refuse()
        return self.work

    async def release(self, agent: str, lane: str, reason: str) -> int:
        self._refuse()
        self.released.append((agent, lane))
        return 1

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise self.trouble


class Running:
    """A pool at work."""

    def __init__(self, fleet: Fleet, ledger: Ledger, kind: Kind = FIXED, rules: Rules | None = None) -> None:
        self.pool = Pool([kind], fleet, ledger, rules)

    async def __aenter__(self) -> Pool:
        self._run = asyncio.create_task(self.pool.run())
        return self.pool

    async def __aexit__(self, *_: object) -> None:
        self._run.cancel()
        with suppress(asyncio.CancelledError):
            await self._run


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def killed(fleet: Fleet, id: str) -> None:
    fleet.deaths[id].set_result(Death(fault=True, detail="killed"))
