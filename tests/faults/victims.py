"""Agents for the fault tests: they leave a trace of every step that really ran, and some of them misbehave."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pydantic import BaseModel

from agents import Agent, Background, Context, Resources, Retry


class Work(BaseModel):
    """What to do: `steps` steps of `seconds` each, each of which leaves a line in `trace`."""

    trace: str
    name: str
    steps: int = 3
    seconds: float = 0.0
    misdeed: str = ""


class Done(BaseModel):
    """The value of every step."""

    values: list[int]


POLICY = Background(resources=Resources(cpus=0), slots=8, max_attempts=2, timeout=30, retry=Retry(base=0.1, cap=0.2))


class Tracer(Agent[Work, Done]):
    """Runs its steps one after the other, in threads."""

    name = "tracer"
    realtime = None
    background = POLICY

    async def run(self, ctx: Context, work: Work) -> Done:
        return Done(values=[await ctx.step("work", trace, work, number) for number in range(work.steps)])


def trace(work: Work, number: int) -> int:
    """Leave a line, atomically, then take some time."""
    with Path(work.trace).open("a") as file:
        file.write(f"{work.name} {number} {os.getpid()}\n")
    time.sleep(work.seconds)
    return number * number


class Villain(Agent[Work, Done]):
    """Does to its worker what users' code does."""

    name = "villain"
    realtime = None
    background = Background(
        resources=Resources(cpus=0), slots=8, max_attempts=2, timeout=2, retry=Retry(base=0.1, cap=0.2)
    )

    async def run(self, ctx: Context, work: Work) -> Done:
        match work.misdeed:
            case "raise":
                raise RuntimeError("no more milk")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                await ctx.step("hang", time.sleep, 3600)
            case "wrong type":
                return "not a Done"  # type: ignore[return-value]
            case "exit":
                raise SystemExit(3)
            case _:
                await ctx.step("rest", time.sleep, work.seconds)
        return Done(values=[1])


class Foreman(Agent[Work, list[Done]]):
    """Waits for a word, then has three parts of the work done by tracers, whose workers are of another kind."""

    name = "foreman"
    realtime = None
    background = Background(resources=Resources(cpus=0.1), slots=1, timeout=30, retry=Retry(base=0.1, cap=0.2))

    async def run(self, ctx: Context, work: Work) -> list[Done]:
        parts = [work.model_copy(update={"name": f"{work.name}.{part}"}) for part in range(3)]
        await ctx.sleep(0.5)
        await ctx.signal("begin", timeout=60)
        return await ctx.map(Tracer, parts, parallel=2)
