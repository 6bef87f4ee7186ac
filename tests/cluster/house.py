"""A ledger with workers, all in one process, whose agents do what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from agents import Agent, Background, Context, Retry
from cluster.callees import callees_of
from cluster.claims import Hello
from cluster.lanes import lines_of
from cluster.ledger import Ledger
from cluster.pace import Pace
from cluster.shapes import name_of
from cluster.store import Store
from cluster.task import Filter, Task
from cluster.worker import Worker

from .direct import Direct, opened
from .making import ManualClock, submission, task

Script = Callable[[Context, int], Awaitable[Any]]
QUICK = Retry(base=0.001, cap=0.002)


def agent(name_: str, script: Script, **policy: Any) -> Agent[int, Any]:
    """An agent of that name that takes a number and runs the script."""

    class Acting(Agent[int, Any]):
        name = name_
        version = "v1"
        background = Background(**({"retry": QUICK} | policy))

        async def run(self, ctx: Context, number: int) -> Any:
            return await script(ctx, number)

    return Acting()


async def double(ctx: Context, number: int) -> int:
    """A script of one step."""
    return await ctx.step("double", lambda: 2 * number)


def error(task: Task) -> dict[str, Any]:
    """What the task failed with."""
    found: dict[str, Any] = json.loads(task.error or "{}")
    return found


class House:
    """The store outlives the ledger, and the ledger its workers; with a `clock` time stands still until it is moved."""

    def __init__(self, store: Store, clock: ManualClock | None = None) -> None:
        self.store = store
        self.clock = clock
        self.workers: dict[str, Worker] = {}
        self.links: dict[str, Direct] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """A new ledger, which the workers find at once."""
        self.ledger = Ledger(self.store, self.clock.clock if self.clock else None)
        self._ticks = asyncio.create_task(self.ledger.run())
        for link in self.links.values():
            link.ledger = self.ledger

    async def close(self) -> None:
        """The ledger dies."""
        self._ticks.cancel()
        await asyncio.wait([self._ticks])

    def hire(
        self,
        *agents: Agent[int, Any],
        id: str = "w1",
        slots: int = 8,
        callees: Any = None,
        shape: Any = None,
        shapes: Any = (None,),
        version: str = "",
    ) -> Worker:
        """A worker that runs these agents; of this shape, and for steps that ask for one of the `shapes`. With a
        `version` it has that of them, and what it begins is to finish with it."""
        quick: dict[str, Any] = {"grace": 0.2, "flush": 1.0, "beat": 0.01, "pause": 0.001, "longest_pause": 0.01}
        if self.clock is not None:
            moved = self.clock
            quick |= {"clock": lambda: moved.time, "now": lambda: moved.time}
        link = self.links[id] = Direct(self.ledger)
        market = "on_demand" if shape is None or shape.market == "any" else shape.market
        lines = {each.name: lines_of(each.name, shapes, market, version) for each in agents}
        versions = dict.fromkeys((each.name for each in agents), version) if version else {}
        kind = name_of(shape) if shape else "cpu1"
        hello = Hello(id, kind, {each.name: slots for each in agents}, lines, versions)
        known = None if callees is None else callees_of(map(type, callees))
        by_name = {each.name: each for each in agents}
        worker = Worker(
            hello, by_name, link, "nowhere", die=lambda: None, pace=Pace(**quick), callees=known, shape=shape
        )
        self.workers[id] = worker
        self._runs[id] = asyncio.create_task(worker.run())
        return worker

    async def kill(self, id: str = "w1", *, fault: bool = False) -> None:
        """The worker's process dies, and the ledger hears of it."""
        run = self._runs.pop(id)
        del self.workers[id], self.links[id]
        run.cancel()
        await asyncio.wait([run])
        await self.ledger.worker_lost(id, fault=fault)

    async def submit(self, agent: str, number: int = 0, **changes: Any) -> str:
        one = task(agent=agent, input=str(number), **changes)
        await self.ledger.submit(submission(one))
        return one.id

    async def task(self, id: str) -> Task:
        found = await self.ledger.task("", id)
        assert found is not None
        return found

    async def ended(self, id: str) -> Task:
        async with asyncio.timeout(20):
            return cast(Task, await self.ledger.task("", id, wait=30))

    async def until(self, id: str, state: str) -> Task:
        async with asyncio.timeout(20):
            while (found := await self.task(id)).state != state:
                await asyncio.sleep(0.002)
            return found

    async def children(self, id: str) -> list[Task]:
        """In the order they were called."""
        found = await self.ledger.tasks("", Filter(parent_id=id), None, 1000)
        steps = {step.name + step.key: place for place, step in enumerate(await self.ledger.steps("", id) or [])}
        return sorted(found, key=lambda child: steps.get(_step_of(child), 0))

    async def recorded(self, id: str) -> list[str]:
        return [step.name + step.key for step in await self.ledger.steps("", id) or []]

    async def events(self, id: str) -> list[str]:
        page = await self.ledger.events("", id, -1, 0)
        assert page is not None
        return [event.type for event in page.events]


def _step_of(child: Task) -> str:
    assert child.origin is not None
    return child.origin.name + child.origin.key


@asynccontextmanager
async def house(clock: ManualClock | None = None, store: Store | None = None) -> AsyncIterator[House]:
    found = House(store or await opened(), clock)
    await found.open()
    try:
        yield found
    finally:
        for id in list(found.workers):
            await found.kill(id)
        await found.close()
