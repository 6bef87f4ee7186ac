"""Agents that answer after a while, and leave a line where each run begins: in which process it was."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from agents import Agent, Background, Context, Progress, Realtime, Resources, Retry

STEPS = 3


class Ask(BaseModel):
    """Take so many seconds, and leave the name in `trace` before."""

    trace: str
    name: str
    seconds: float = 0.0


class Answer(BaseModel):
    """The process that answers."""

    pid: int


class Answerer(Agent[Ask, Answer]):
    """Has two replicas."""

    name = "answerer"
    realtime = Realtime(deadline=20.0, slots=100, min_replicas=2, max_replicas=2)
    background = Background(
        resources=Resources(cpus=0), slots=32, max_attempts=3, timeout=60, retry=Retry(base=0.1, cap=0.2)
    )

    async def run(self, ctx: Context, ask: Ask) -> Answer:
        with Path(ask.trace).open("a") as file:  # noqa: ASYNC230
            file.write(f"{ask.name} {os.getpid()}\n")
        await ctx.emit(Progress(message="begun"))
        for _ in range(STEPS):
            await ctx.step("rest", asyncio.sleep, ask.seconds / STEPS)
        return Answer(pid=os.getpid())


class Guest(Answerer):
    """The same, on nodes that have GPUs: no other than those that a test brings."""

    name = "guest"
    realtime = replace(Answerer.realtime, deadline=15.0, resources=Resources(gpus=1))


def begun(trace: Path) -> list[tuple[str, int]]:
    """The runs that began, as (name, process)."""
    if not trace.exists():
        return []
    return [(name, int(pid)) for name, pid in map(str.split, trace.read_text().splitlines())]
