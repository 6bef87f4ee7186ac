"""An agent that takes a CPU, which only a rented machine has, and leaves a trace of every step that began."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from agents import Agent, Background, Context, Resources


class Job(BaseModel):
    """So many steps of so many seconds each; each leaves a line in `trace` when it begins."""

    trace: str
    name: str
    steps: int = 10
    seconds: float = 0.4


class Began(NamedTuple):
    """A step that began: whose, which, in which process, and when."""

    name: str
    number: int
    pid: int
    at: float


class Renter(Agent[Job, int]):
    """Runs its steps one after the other."""

    name = "renter"
    realtime = None
    background = Background(resources=Resources(cpus=1), slots=8, max_attempts=2, timeout=120)

    async def run(self, ctx: Context, job: Job) -> int:
        return sum([await ctx.step("work", work, job, number) for number in range(job.steps)])


async def work(job: Job, number: int) -> int:
    """Leave a line, atomically, then take some time."""
    with Path(job.trace).open("a") as file:  # noqa: ASYNC230 - it is one line
        file.write(f"{job.name} {number} {os.getpid()} {time.time()}\n")
    await asyncio.sleep(job.seconds)
    return number


def begun(trace: Path) -> list[Began]:
    """The steps that really began, in order."""
    lines = map(str.split, trace.read_text().splitlines()) if trace.exists() else []
    return [Began(name, int(number), int(pid), float(at)) for name, number, pid, at in lines]
