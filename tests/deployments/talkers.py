"""Agents that remember what was said in a session."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import BaseModel

from agents import Agent, Background, Context, Permanent, Progress, Realtime


class Said(BaseModel):
    text: str = ""


class Talk(BaseModel):
    lines: list[str] = []


class Talker(Agent[Said, Talk]):
    """Answers with all that was said, in this turn and those before. `wait` waits for the gate, `nap 1` takes a second,
    `promote` leaves for the background, and `fail` fails."""

    name = "talker"
    realtime = Realtime(deadline=5.0, slots=64)
    background = Background()

    gate: ClassVar[asyncio.Event]
    began: ClassVar[list[str]] = []
    cancelled: ClassVar[list[str]] = []

    async def run(self, ctx: Context, said: Said) -> Talk:
        self.began.append(said.text)
        talk: Talk = await ctx.memory.read(Talk) or Talk()
        if said.text.startswith("wait"):
            await ctx.emit(Progress(message="waits"))
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.append(said.text)
                if said.text == "wait and protest":
                    await asyncio.sleep(0.01)
                    await ctx.emit(Progress(message="protests"))
                raise
        if said.text.startswith("nap "):
            await asyncio.sleep(float(said.text.removeprefix("nap ")))
        if said.text == "promote":
            await ctx.promote("was told to")
        if said.text == "fail":
            raise Permanent("was told to")
        talk = Talk(lines=[*talk.lines, said.text])
        await ctx.memory.write(talk)
        return talk


class Cached(Talker):
    """The same, with answers that are kept."""

    name = "cached"
    realtime = Realtime(deadline=5.0, slots=64, cache_ttl=60.0)


class Parrot(Agent[Said, Said]):
    """Remembers nothing, and says what it hears at once; what begins with `wait` once the gate is open. `tell` tells of
    it before, and `fail` fails."""

    name = "parrot"
    realtime = Realtime(deadline=5.0, slots=64)

    async def run(self, ctx: Context, said: Said) -> Said:
        if said.text.startswith("wait"):
            await Talker.gate.wait()
        if said.text == "tell":
            await ctx.emit(Progress(message="tells"))
        if said.text == "fail":
            raise Permanent("was told to")
        return said
