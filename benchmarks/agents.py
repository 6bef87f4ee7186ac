"""Agents that load the ledger in one way each; the no-op is `agents.library.echo`."""

from __future__ import annotations

import asyncio

from agents import Agent, Background, Context, Realtime, Resources
from agents.library.echo import Message

DAY = 24 * 3600.0


class Steps(Agent[Message, int]):
    """Records three steps that do next to nothing."""

    name = "steps"
    realtime = None
    background = Background(resources=Resources(cpus=1), slots=64)

    async def run(self, ctx: Context, message: Message) -> int:
        return sum([await ctx.step(name, _length, message.text) for name in ("first", "second", "third")])


class Hold(Agent[Message, Message]):
    """Takes a day for a task and one task a worker: whatever else it is given stays queued, and could run."""

    name = "hold"
    realtime = None
    background = Background(resources=Resources(cpus=1), slots=1, timeout=2 * DAY)

    async def run(self, ctx: Context, message: Message) -> Message:
        await asyncio.sleep(DAY)
        return message


class Kept(Agent[Message, Message]):
    """Echo, whose answers are good for a day."""

    name = "kept"
    realtime = Realtime(deadline=10.0, cache_ttl=DAY)

    async def run(self, ctx: Context, message: Message) -> Message:
        return message


class Counts(Agent[Message, int]):
    """Remembers how many turns its session has had."""

    name = "counts"
    realtime = Realtime(deadline=10.0)

    async def run(self, ctx: Context, message: Message) -> int:
        turns = (await ctx.memory.read(int) or 0) + 1
        await ctx.memory.write(turns)
        return turns


class Slow(Agent[Message, Message]):
    """Takes three seconds."""

    name = "slow"
    realtime = Realtime(deadline=30.0, slots=64)
    background = Background(resources=Resources(cpus=0.5), slots=64)

    async def run(self, ctx: Context, message: Message) -> Message:
        await asyncio.sleep(3)
        return message


class Busy(Agent[Message, Message]):
    """Takes a twentieth of a second, eight at once: 160 a second, and no more."""

    name = "busy"
    realtime = Realtime(deadline=1.0, slots=8, queue=16)

    async def run(self, ctx: Context, message: Message) -> Message:
        await asyncio.sleep(0.05)
        return message


async def _length(text: str) -> int:
    return len(text)
