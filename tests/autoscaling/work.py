"""Agents for tests of the pool: one that takes a while on a CPU, and one that needs a GPU."""

from __future__ import annotations

import asyncio

import ray
from pydantic import BaseModel

from agents import Agent, Background, Context, Resources


async def nap(seconds: float) -> str:
    """The kind of the node on which so many seconds went by."""
    await asyncio.sleep(seconds)
    return str(ray.get_runtime_context().get_node_labels()["ray.io/node-group"])


class Length(BaseModel):
    """Of a nap, in seconds."""

    seconds: float


class Nap(Agent[Length, str]):
    """Says on which kind of node it has napped for so long."""

    name = "nap"
    realtime = None
    background = Background(resources=Resources(cpus=1), slots=8)

    async def run(self, ctx: Context, length: Length) -> str:
        return str(await ctx.step("nap", nap, length.seconds))


class Render(Nap):
    """The same, on a GPU."""

    name = "render"
    background = Background(resources=Resources(gpus=1), slots=4)


class Both(Agent[Length, list[str]]):
    """Thinks on a CPU, draws on a GPU, and goes on thinking; says on which kind of node each was."""

    name = "both"
    realtime = None
    background = Background(resources=Resources(cpus=1))

    async def run(self, ctx: Context, length: Length) -> list[str]:
        thought = await ctx.step("think", nap, length.seconds)
        drawn = await ctx.step("draw", nap, length.seconds, resources=Resources(gpus=1))
        return [thought, drawn, await ctx.step("think", nap, length.seconds)]
