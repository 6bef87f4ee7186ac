"""An agent that walks through a plan, and stops where the test wants it to."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pydantic import BaseModel

from agents import Agent, Context, Progress, Realtime, Resources


class Plan(BaseModel):
    """What to do, each as `what:name`."""

    walk: list[str]


class Walker(Agent[Plan, list[str]]):
    """Does what its plan says, one after the other."""

    name = "walker"
    version = "v1"
    realtime = Realtime(deadline=5.0)

    gate: ClassVar[asyncio.Event]  # what slow steps wait for
    began: ClassVar[list[str]] = []
    cancelled: ClassVar[list[str]] = []

    async def run(self, ctx: Context, plan: Plan) -> list[str]:
        return [await self._do(ctx, *each.split(":")) for each in plan.walk]

    async def _do(self, ctx: Context, what: str, name: str = "") -> str:
        match what:
            case "step":
                return await ctx.step(name, quick, name)
            case "slow":
                return await ctx.step(name, slow, name)
            case "firm":
                return await ctx.step(name, slow, name, cancellable=False)
            case "once":
                return await ctx.step(name, slow, name, once=True)
            case "large":
                return await ctx.step(name, large)
            case "gpu":
                return await ctx.step(name, quick, name, resources=Resources(gpus=1))
            case "light":
                return await ctx.step(name, quick, name, resources=Resources())
            case "stop":
                await slow(name)
            case "emit":
                await ctx.emit(Progress(message=name))
            case "sleep":
                await ctx.sleep(float(name))
            case "signal":
                return str(await ctx.signal(name))
            case "call":
                return str(await ctx.call("other", {}))
            case "map":
                return str(await ctx.map("other", [{}]))
            case "promote":
                await ctx.promote(name)
            case "within":
                await ctx.step(name, ctx.promote, name)
        return name


class Stayer(Walker):
    """Runs in real time only."""

    name = "stayer"
    background = None


def quick(name: str) -> str:
    Walker.began.append(name)
    return name.upper()


async def slow(name: str) -> str:
    Walker.began.append(name)
    try:
        await Walker.gate.wait()
    except asyncio.CancelledError:
        Walker.cancelled.append(name)
        raise
    return name.upper()


def large() -> str:
    return "x" * 2**20


def plan(*walk: str) -> dict[str, Any]:
    return {"walk": list(walk)}


class Errand(BaseModel):
    """Plans to have walked, one after the other or `together`."""

    plans: list[Plan]
    together: bool = False
    parallel: int | None = None


class Chief(Agent[Errand, list[list[str]]]):
    """Has its errands done by walkers."""

    name = "chief"
    version = "v1"
    realtime = Realtime(deadline=5.0)

    async def run(self, ctx: Context, errand: Errand) -> list[list[str]]:
        if errand.together:
            return await ctx.map(Walker, errand.plans, parallel=errand.parallel)
        return [await ctx.call(Walker, plan) for plan in errand.plans]


class Hasty(Agent[Errand, list[str]]):
    """Calls a walker, and ends before that has even begun."""

    name = "hasty"
    realtime = Realtime(deadline=5.0)
    calls: ClassVar[list[asyncio.Task[list[str]]]] = []

    async def run(self, ctx: Context, errand: Errand) -> list[str]:
        self.calls.append(asyncio.create_task(ctx.call(Walker, errand.plans[0])))
        return []


class Mirror(Agent[int, int]):
    """Calls itself so many times."""

    name = "mirror"
    realtime = Realtime(deadline=5.0)

    async def run(self, ctx: Context, times: int) -> int:
        return 0 if times == 0 else 1 + await ctx.call(Mirror, times - 1)
