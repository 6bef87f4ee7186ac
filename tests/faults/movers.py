"""An agent that answers at once, and whose runs may go on in the background."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agents import Agent, Background, Context, Realtime, Resources, Retry

from .victims import Done, Work, trace


class Mover(Agent[Work, Done]):
    """Each step takes its seconds and leaves its line in the trace: in the loop, or with the misdeed `firm` in a
    thread, where it cannot be cancelled."""

    name = "mover"
    realtime = Realtime(deadline=20.0, slots=64)
    background = Background(
        resources=Resources(cpus=0), slots=8, max_attempts=3, timeout=60, retry=Retry(base=0.1, cap=0.2)
    )

    async def run(self, ctx: Context, work: Work) -> Done:
        step = trace if work.misdeed == "firm" else pause
        return Done(values=[await ctx.step("work", step, work, number) for number in range(work.steps)])


class Boss(Agent[Work, list[Done]]):
    """Has three parts of the work done by movers."""

    name = "boss"
    realtime = Mover.realtime
    background = Mover.background

    async def run(self, ctx: Context, work: Work) -> list[Done]:
        return await ctx.map(Mover, [work.model_copy(update={"name": f"{work.name}.{part}"}) for part in range(3)])


async def pause(work: Work, number: int) -> int:
    """Takes some time, then leaves a line."""
    await asyncio.sleep(work.seconds)
    with Path(work.trace).open("a") as file:  # noqa: ASYNC230
        file.write(f"{work.name} {number} {os.getpid()}\n")
    return number * number
