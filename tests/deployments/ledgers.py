"""A ledger for the gateway to talk to, a worker's hand that moves its tasks, and a ledger that is out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from agents.events import Emitted
from agents.journal import StepId, StepRecord
from cluster import waits
from cluster.claims import Answer, Beat, Claim, Ending, Hello, Orders, Picture, Promotion, Report, StepDone, Verdict
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.sessions import Memory
from cluster.task import Task
from cluster.waits import Waits


@asynccontextmanager
async def running_ledger() -> AsyncIterator[Ledger]:
    """The real ledger, in this process, over a store in memory."""
    store = MemoryStore()
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    ledger = Ledger(store)
    running = asyncio.create_task(ledger.run())
    yield ledger
    running.cancel()
    await asyncio.wait([running])


class Link(Protocol):
    """What a hand needs of the ledger."""

    async def pull(self, worker: Hello, call: int) -> Orders: ...

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer: ...


class Hand:
    """A worker whose every move the test decides."""

    def __init__(self, link: Link, agent: str) -> None:
        self._link = link
        self._hello = Hello(f"hand-{agent}", "cpu", {agent: 1000})
        self._calls = 0
        self._reports: dict[str, int] = {}

    async def take(self) -> Claim:
        """The next task of the agent."""
        return (await self.take_all())[0]

    async def take_all(self) -> tuple[Claim, ...]:
        """All that are queued of the agent, in the order of their ids."""
        while True:
            self._calls += 1
            orders = await self._link.pull(self._hello, self._calls)
            if orders.claims:
                return tuple(sorted(orders.claims, key=lambda claim: claim.task.id))

    async def step(self, claim: Claim, name: str, value: str) -> None:
        await self._report(claim, StepDone(StepRecord(StepId(name, "#0"), "d1", value), 1_700_000_000.0))

    async def say(self, claim: Claim, *messages: str) -> None:
        data = [f'{{"message":"{message}","data":null}}' for message in messages]
        await self._report(claim, *(Emitted("progress", "", 1_700_000_000.0, text) for text in data))

    async def complete(self, claim: Claim, output: str) -> None:
        await self._report(claim, verdict=Verdict(Ending.COMPLETED, output=output))

    async def fail(self, claim: Claim, error: str) -> None:
        await self._report(claim, verdict=Verdict(Ending.FAILED, error=error))

    async def wait(self, claim: Claim, for_what: Waits) -> None:
        await self._report(claim, verdict=Verdict(Ending.WAITING, waiting_on=waits.write(for_what)))

    async def cancel(self, claim: Claim) -> None:
        await self._report(claim, verdict=Verdict(Ending.CANCELED))

    async def _report(self, claim: Claim, *entries: StepDone | Emitted, verdict: Verdict | None = None) -> None:
        task = claim.task
        self._calls += 1
        self._reports[task.id] = number = self._reports.get(task.id, 0) + 1
        report = Report(task.tenant, task.id, task.fence, number, entries, verdict)
        answer = await self._link.report(self._hello, self._calls, (report,))
        assert not answer.lost


class Direct:
    """The link of a worker, or of a replica, to a ledger on the same loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()

    async def pull(self, worker: Hello, call: int) -> Orders:
        return await self._ledger.pull(worker, call)

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        return await self._ledger.report(worker, call, reports)

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        return await self._ledger.promote(worker, call, promotion)

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        return await self._ledger.memory(tenant, agent, session)

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        return await self._ledger.remember(tenant, agent, session, version, value, writer)

    def beat(self, worker: str, seen: Picture) -> Beat:
        beat = self._ledger.beat(worker, seen)
        return asyncio.run_coroutine_threadsafe(beat, self._loop).result(10)


class Unreachable:
    """A ledger that nobody can reach, whatever is asked of it."""

    def beat(self, *args: Any) -> Beat:
        raise Unavailable("no route to 10.0.0.7:6379")

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any, **kwargs: Any) -> Any:
            raise Unavailable("no route to 10.0.0.7:6379, /var/lib/ledger.db", retry_after=2.5)

        return ask
