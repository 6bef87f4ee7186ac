"""A ledger that a test drives by hand: its store, its callers, its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cluster.claims import Claim, Hello, Orders, Picture
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.store import Store, StoreFailed, Writes
from cluster.task import Task
from cluster.terms import Terms

from .making import ManualClock, submission, task


class ShakyStore(MemoryStore):
    """A store that can be held at the commit, made to fail, or made to refuse some rows."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False
        self.fails_after: int | None = None  # one commit fails, after so many
        self.commits = 0

    async def commit(self, writes: Writes) -> None:
        await self.gate.wait()
        if self.down or any("poison" in new.input for new in writes.new.values()):
            raise StoreFailed("disk full")
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                self.fails_after = None
                raise StoreFailed("told to")
        await super().commit(writes)
        self.commits += 1


async def opened() -> ShakyStore:
    """A store that a ledger may use."""
    store = ShakyStore()
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    return store


@asynccontextmanager
async def running(
    store: Store, clock: ManualClock, *, fresh: bool = False, shared: bool = False
) -> AsyncIterator[Ledger]:
    ledger = Ledger(store, clock.clock, fresh=fresh, terms=Terms(shared=shared))
    loop = asyncio.create_task(ledger.run())
    await asyncio.sleep(0)  # in which it reads its book, if it can
    yield ledger
    loop.cancel()
    await asyncio.wait([loop])


class Caller:
    """A worker's side of the protocol, by hand."""

    def __init__(self, ledger: Ledger, hello: Hello) -> None:
        self.ledger, self.hello, self.call = ledger, hello, 0
        self._book, self._before = "", 0  # as cluster.calls has it
        self.given: list[Claim] = []  # claims that came with the answer to a report

    async def pull(self) -> Orders:
        self.call += 1
        return await self.ledger.pull(self.hello, self.call)

    async def claims(self) -> tuple[Claim, ...]:
        if self.given:
            given, self.given = tuple(self.given), []
            return given
        return (await asyncio.wait_for(self.pull(), 2)).claims

    async def claim(self) -> Claim:
        (claim,) = await self.claims()
        return claim

    async def report(self, *reports: object) -> list[object]:
        self.call += 1
        answer = await self.ledger.report(self.hello, self.call, reports)  # type: ignore[arg-type]
        self.given += answer.orders.claims
        return list(answer.lost)

    async def beat(self, *held: Claim, open: tuple[int, ...] = ()) -> list[object]:
        since = all(call > self._before for call in open)
        seen = Picture(self.call, open, tuple(map(held_of, held)), self._book if since else "")
        beat = await self.ledger.beat(self.hello.id, seen)
        if beat.book != self._book:
            self._book, self._before = beat.book, self.call
        return list(beat.lost)


def held_of(claim: Claim) -> tuple[str, str, int]:
    return claim.task.tenant, claim.task.id, claim.task.fence


async def started(ledger: Ledger, worker: Caller, **changes: Any) -> Claim:
    """The worker holds a task that was submitted just now."""
    await ledger.submit(submission(task(**changes)))
    return await worker.claim()


async def state(ledger: Ledger, id: str) -> Task:
    """The task as it is now."""
    found = await ledger.task("", id)
    assert found is not None
    return found


async def pass_by(ledger: Ledger, clock: ManualClock, seconds: float) -> None:
    """So much time goes by, in which the ledger listens."""
    ends = clock.time + seconds
    while clock.time < ends:
        clock.advance(min(1.0, ends - clock.time))
        await ledger.counts()  # a tick


async def settled() -> None:
    """Let everything that can run now, run."""
    for _ in range(50):
        await asyncio.sleep(0)
