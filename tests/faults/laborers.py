"""Agents for runs under load: every start of a step leaves a line, and the step's value says which start it is of."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from agents import Agent, Background, Context, Resources, Retry

PARTS = 3  # that a juggler has done by packers
SIGNAL = "go"
PATIENT = Background(resources=Resources(cpus=0), slots=8, max_attempts=20, timeout=60, retry=Retry(base=0.1, cap=0.5))


class Job(BaseModel):
    """What to do, and under which name its client knows it: `steps` steps of about `seconds` each."""

    trace: str
    name: str
    steps: int = 3
    seconds: float = 0.0


class Marks(BaseModel):
    """The value of each step: the mark that the start of it that counts has left in the trace."""

    marks: list[str]


class Hauler(Agent[Job, Marks]):
    """Runs its steps one after the other, in threads."""

    name = "hauler"
    realtime = None
    background = PATIENT

    async def run(self, ctx: Context, job: Job) -> Marks:
        return await in_turn(ctx, job, "haul")


class Sprinter(Agent[Job, Marks]):
    """Likewise, and all that it reaches is recorded together with its output."""

    name = "sprinter"
    realtime = None
    background = Background(resources=Resources(cpus=0), slots=8, max_attempts=20, timeout=60, durability="exit")

    async def run(self, ctx: Context, job: Job) -> Marks:
        return await in_turn(ctx, job, "haul")


class Carter(Agent[Job, Marks]):
    """Likewise, on the loop, where a step can be cut short; it leaves behind when each began and ended."""

    name = "carter"
    realtime = None
    background = PATIENT

    async def run(self, ctx: Context, job: Job) -> Marks:
        steps = range(job.steps)
        return Marks(marks=[await ctx.step("cart", timed, job, ctx.task_id, f"cart#{n}") for n in steps])


class Packer(Agent[Job, Marks]):
    """Likewise, on the node that has a GPU."""

    name = "packer"
    realtime = None
    background = replace(PATIENT, resources=Resources(gpus=0.25))

    async def run(self, ctx: Context, job: Job) -> Marks:
        return await in_turn(ctx, job, "pack")


class Juggler(Agent[Job, Marks]):
    """Does all that a run can wait for, with a step between any two waits, one of which must never run twice."""

    name = "juggler"
    realtime = None
    background = PATIENT

    async def run(self, ctx: Context, job: Job) -> Marks:
        marks = [await ctx.step("catch", slowly, job, ctx.task_id, "catch#0")]
        await ctx.sleep(5 * job.seconds)
        marks.append(await ctx.step("charge", quickly, job, ctx.task_id, "charge#0", once=True))
        await ctx.signal(SIGNAL, timeout=300)
        marks.append(await ctx.step("catch", slowly, job, ctx.task_id, "catch#1"))
        parts = [job.model_copy(update={"name": f"{job.name}/{part}"}) for part in range(PARTS)]
        for packed in await ctx.map(Packer, parts, parallel=2):
            marks += packed.marks
        marks.append(await ctx.step("throw", slowly, job, ctx.task_id, "throw#0"))
        return Marks(marks=marks)


async def in_turn(ctx: Context, job: Job, step: str) -> Marks:
    """The job's steps of this name, one after the other, in threads."""
    return Marks(marks=[await ctx.step(step, slowly, job, ctx.task_id, f"{step}#{n}") for n in range(job.steps)])


def slowly(job: Job, task: str, step: str) -> str:
    """Leave a mark, then take some time."""
    mark = leave_mark(job, task, step)
    time.sleep(job.seconds)
    return mark


async def quickly(job: Job, task: str, step: str) -> str:
    """Likewise, on the loop."""
    mark = leave_mark(job, task, step)
    await asyncio.sleep(job.seconds / 10)
    return mark


async def timed(job: Job, task: str, step: str) -> str:
    """Likewise; when it began and ended, in whichever way, is told beside the trace."""
    mark = leave_mark(job, task, step)
    _write(f"{job.trace}.times", f"{mark} {time.time()}")
    try:
        await asyncio.sleep(job.seconds)
    finally:
        _write(f"{job.trace}.times", f"{mark} {time.time()}")
    return mark


def leave_mark(job: Job, task: str, step: str) -> str:
    """Tell which step of which task starts here."""
    mark = secrets.token_hex(6)
    _write(job.trace, f"{task} {step} {mark}")
    return mark


def _write(path: str, line: str) -> None:
    """All of it at once."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


class Span(NamedTuple):
    """One start of a timed step: seconds since the epoch, infinite where it never ended."""

    step: str
    begins: float
    ends: float


def spans(trace: Path) -> dict[str, list[Span]]:
    """Of each task all starts of timed steps, in the order of time."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for line in Path(f"{trace}.times").read_text().splitlines():
        mark, at = line.split()
        times[mark].append(float(at))
    found: defaultdict[str, list[Span]] = defaultdict(list)
    for task, step, mark in starts(trace):
        found[task].append(Span(step, *(times[mark] + [math.inf])[:2]))
    return found


def starts(trace: Path) -> list[tuple[str, str, str]]:
    """Every start of a step in the order of time: (task, step, mark)."""
    if not trace.exists():
        return []
    lines = (line.split() for line in trace.read_text().splitlines())
    return [(task, step, mark) for task, step, mark in lines]
