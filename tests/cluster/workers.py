"""Workers to test: a real one over a ledger in memory, with an agent that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from agents import Agent, Background, Context, Retry
from cluster.claims import Hello
from cluster.pace import Pace
from cluster.worker import Worker

from .links import MemoryLink
from .making import ManualClock


class Given(BaseModel):
    """What a scripted run is given."""

    n: int = 0


Script = Callable[[Context, Given], Awaitable[Any]]


class Scripted(Agent[Given, int]):
    """Runs the script of a test."""

    name = "scripted"
    background = Background(retry=Retry(base=10, jitter=0))

    def __init__(self, script: Script) -> None:
        self.script = script

    async def run(self, ctx: Context, given: Given) -> int:
        result: int = await self.script(ctx, given)
        return result


class Deaths:
    """Stands for the end of the process, and counts how often it was called for."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def pace(**changes: Any) -> Pace:
    """Quick, on a clock that stands still, and without a heartbeat but those that the test asks for."""
    still = ManualClock()
    quick = Pace(
        grace=0.1,
        flush=1.0,
        beat=3600,
        pause=0.001,
        longest_pause=0.01,
        clock=lambda: still.time,
        now=lambda: 1000.0,
        roll=lambda: 0.0,
    )
    return replace(quick, **changes)


def make(
    link: MemoryLink,
    script: Script,
    *,
    slots: int = 8,
    die: Callable[[], None] | None = None,
    artifacts: str = "nowhere",
    **changes: Any,
) -> Worker:
    hello = Hello("w1", "cpu1", {"scripted": slots})
    return Worker(hello, {"scripted": Scripted(script)}, link, artifacts, die=die or Deaths(), pace=pace(**changes))


@asynccontextmanager
async def working(link: MemoryLink, script: Script, **options: Any) -> AsyncIterator[Worker]:
    """A worker at work, stopped at the end."""
    worker = make(link, script, **options)
    run = asyncio.create_task(worker.run())
    await link.until(lambda: bool(link.calls["pull"]))
    try:
        yield worker
    finally:
        await worker.stop()
        await asyncio.wait_for(run, 10)


async def beat(worker: Worker) -> None:
    """One heartbeat, and what the worker makes of the answer."""
    await asyncio.to_thread(worker.heartbeat.beat)
    await settle()


async def settle(turns: int = 20) -> None:
    """Let everything that can run now, run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def one(ctx: Context, given: Given) -> int:
    """The simplest script."""
    return given.n + 1


def add(a: int, b: int) -> int:
    """The simplest step."""
    return a + b


async def slow() -> int:
    """A step that ends with its run only."""
    await asyncio.sleep(3600)
    return 0
