"""An agent that does what a test says, and one that packs parts for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from agents import Agent, Context, Permanent
from agents.testing import Host, Waiting

Script = Callable[[Context], Awaitable[Any]]


class Scripted(Agent[None, Any]):
    """Does what the test says."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self.script = script

    async def run(self, ctx: Context, _: None) -> Any:
        return await self.script(ctx)


class Part(BaseModel):
    """With an alias, so that what travels is not what the code says."""

    weight: int = Field(alias="Weight")


class Packed(BaseModel):
    label: str = Field(serialization_alias="Label", validation_alias="Label")
    weight: int


class Pack(Agent[Part, Packed]):
    name = "pack"

    def setup(self) -> None:
        self.ran = 0

    async def run(self, ctx: Context, part: Part) -> Packed:
        self.ran += 1
        if part.weight < 0:
            raise Permanent("it floats away")
        await ctx.step("wrap", lambda: part.weight)
        return Packed(Label=f"part {part.weight}", weight=part.weight)


def host(script: Script, **options: Any) -> Host[None, Any]:
    return Host(Scripted(script), **options)


async def waiting(host: Host[None, Any], **crash: Any) -> Waiting:
    with pytest.raises(Waiting) as found:
        await host.run(None, **crash)
    return found.value


def part(weight: int) -> Part:
    return Part(Weight=weight)
