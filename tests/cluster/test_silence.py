"""A worker whose way to the ledger falls silent: packets are dropped, and no connection breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agents import Agent, Background, Context
from cluster.claims import BEAT, LEASE, MARGIN
from cluster.door import Door, Doorway
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.remote import METHODS, Near, RemoteLink
from cluster.worker import Worker

from .callers import opened, running, state
from .desk import HOST
from .making import ManualClock, hello, submission, task
from .proxy import Proxy
from .workers import Deaths, Given, pace

pytestmark = pytest.mark.slow

TURN = 0.01  # seconds of ours that go by ...
STEP = 0.25  # ... while so many do by the clock of these tests


class Way(Near):
    """To a ledger's door, and nowhere else; a heartbeat takes it too, where else it would go through Ray."""

    def __init__(self, door: Door) -> None:
        super().__init__("the ledger")
        self._door = door
        self._loop = asyncio.get_running_loop()

    async def _find(self) -> Door:
        return self._door

    def call_blocking(self, method: str, *args: Any, seconds: float) -> Any:
        asked = asyncio.run_coroutine_threadsafe(self.call(method, *args), self._loop)
        try:
            return asked.result(seconds * TURN / STEP)
        except TookTooLong:
            asked.cancel()
            raise Unavailable("it does not answer") from None


class Link(RemoteLink):
    """As a worker has it."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self._ledger = way


class Ticker(Agent[Given, list[float]]):
    """Takes step after step, without waiting for their commits, and tells what the clock said at each."""

    name = "scripted"
    background = Background(durability="batched")

    def __init__(self, clock: ManualClock, steps: int, begun: list[float]) -> None:
        self.clock, self.steps, self.begun = clock, steps, begun

    async def run(self, ctx: Context, given: Given) -> list[float]:
        return [await ctx.step("tick", self.tick) for _ in range(self.steps)]

    async def tick(self) -> float:
        self.begun.append(self.clock.time)
        await asyncio.sleep(TURN)
        return self.begun[-1]


def worker(id: str, link: Link, agent: Ticker) -> Worker:
    clock = agent.clock
    beats = pace(beat=BEAT * TURN / STEP, clock=lambda: clock.time)
    return Worker(hello(id, 1, "scripted"), {"scripted": agent}, link, "nowhere", die=Deaths(), pace=beats)


@asynccontextmanager
async def at_work(made: Worker) -> AsyncIterator[None]:
    run = asyncio.create_task(made.run())
    try:
        yield
    finally:
        await made.stop()
        await asyncio.wait_for(run, 10)


async def until(ledger: Ledger, clock: ManualClock, met: Any, most: float) -> None:
    """Let time go by until it is so, at most for so long; the ledger looks at its leases all the while."""
    ends = clock.time + most
    while not met():
        assert clock.time < ends, "it did not happen in time"
        clock.advance(STEP)
        await ledger.counts()
        await asyncio.sleep(TURN)


async def test_it_starts_no_step_once_its_lease_may_be_over_and_what_it_says_late_changes_nothing(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.parking.PULL_SECONDS", 0.1)
    cut_off: list[float] = []
    other: list[float] = []
    async with running(await opened(), clock) as ledger:
        doorway = Doorway({name: getattr(ledger, name) for name in METHODS})
        door = await doorway.open(HOST)
        async with Proxy(f"ledger://{HOST}:{door.port}") as proxy:
            far = Door(HOST, int(proxy.url.rpartition(":")[2]), door.secret)
            async with at_work(worker("w1", Link(Way(far)), Ticker(clock, 150, cut_off))):
                (id,) = (await ledger.submit(submission(task(agent="scripted", input="{}")))).task_ids
                await until(ledger, clock, lambda: len(cut_off) > 20, LEASE)
                proxy.hold(forth=True, back=True)
                silent = clock.time
                async with at_work(worker("w2", Link(Way(door)), Ticker(clock, 150, other))):
                    await until(ledger, clock, lambda: not ledger.book.by_worker["w1"], LEASE + 1)
                    recorded = len(await ledger.steps("", id) or [])
                    await until(ledger, clock, lambda: len(other) > 10, LEASE)
                    proxy.resume()  # all it said meanwhile arrives, and it hears of it
                    await until(ledger, clock, lambda: not ledger.book.running, 3600)

    done = await state(ledger, id)
    assert silent < max(cut_off) <= silent + LEASE - MARGIN + STEP
    assert max(cut_off) < other[0]
    assert (done.state, done.attempts, done.fence) == ("completed", 1, 2)
    assert json.loads(done.output or "") == cut_off[:recorded] + other
