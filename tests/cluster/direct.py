"""A worker and a ledger in one process: every call between them is a plain one, and may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from cluster.book import Clock
from cluster.claims import Answer, Beat, Hello, Orders, Picture, Promotion, Report
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.sessions import Memory
from cluster.store import Store
from cluster.task import Task
from cluster.terms import Terms


class Direct:
    """A worker's link to a ledger of the same process, which may be replaced, and loses calls by chance."""

    def __init__(self, ledger: Ledger, roll: Callable[[], float] = lambda: 1.0) -> None:
        self.ledger = ledger
        self.roll = roll
        self.loop = asyncio.get_running_loop()

    async def pull(self, worker: Hello, call: int) -> Orders:
        return cast(Orders, await self._perhaps(lambda: self.ledger.pull(worker, call)))

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        return cast(Answer, await self._perhaps(lambda: self.ledger.report(worker, call, reports)))

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        return cast(Task, await self._perhaps(lambda: self.ledger.promote(worker, call, promotion)))

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        return cast(Memory, await self._perhaps(lambda: self.ledger.memory(tenant, agent, session)))

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        return cast(
            Memory, await self._perhaps(lambda: self.ledger.remember(tenant, agent, session, version, value, writer))
        )

    def beat(self, worker: str, seen: Picture) -> Beat:
        answer = asyncio.run_coroutine_threadsafe(self.ledger.beat(worker, seen), self.loop)
        return answer.result(10)

    async def _perhaps(self, call: Callable[[], Any]) -> Any:
        if self.roll() < 0.15:
            raise Unavailable("lost on the way")
        answer = await call()
        if self.roll() < 0.15:
            raise Unavailable("lost on the way back")
        return answer


@asynccontextmanager
async def ticking(store: Store, clock: Clock | None = None, *, shared: bool = False) -> AsyncIterator[Ledger]:
    ledger = Ledger(store, clock, terms=Terms(shared=shared))
    loop = asyncio.create_task(ledger.run())
    yield ledger
    loop.cancel()
    await asyncio.wait([loop])


async def opened() -> MemoryStore:
    store = MemoryStore()
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    return store
