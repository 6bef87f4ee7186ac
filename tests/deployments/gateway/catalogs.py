"""Agents that only the gateway's tests know: one for each of the modes, each with an input of its own."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel

from agents import Agent, Artifact, Background, Context, Realtime, Retry
from agents.catalog import Catalog, Entry


class Text(BaseModel):
    """A text, perhaps with an amount."""

    text: str
    amount: Decimal | None = None


class Both(Agent[Text, Text]):
    """Runs at either tempo."""

    name = "both"
    version = "v7"
    background = Background(max_attempts=5, timeout=90, retry=Retry(base=2, cap=60, jitter=0.25))

    async def run(self, ctx: Context, input: Text) -> Text:
        return input


class Later(Agent[Text, Text]):
    """Runs in the background only."""

    name = "later"
    version = "v1"
    realtime = None

    async def run(self, ctx: Context, input: Text) -> Text:
        return input


class Now(Agent[list[int], int]):
    """Runs in real time only."""

    name = "now"
    version = "v1"
    realtime = Realtime(deadline=2)
    background = None

    async def run(self, ctx: Context, input: list[int]) -> int:
        return sum(input)


class Reader(Agent[Artifact, int]):
    """Counts the bytes of an artifact."""

    name = "reader"
    version = "v1"

    async def run(self, ctx: Context, input: Artifact) -> int:
        return len(input.read())


def catalog() -> Catalog:
    return Catalog(Entry(f"tests:{kind.__name__}", kind, kind.version) for kind in (Both, Later, Now, Reader))
