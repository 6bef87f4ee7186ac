"""The smallest agent: it answers with what it was given, and measures the machinery around it."""

from __future__ import annotations

from pydantic import BaseModel

from agents import Agent, Background, Context, Realtime, Resources


class Message(BaseModel):
    """Some text."""

    text: str


class Echo(Agent[Message, Message]):
    """Answers with its input."""

    name = "echo"
    realtime = Realtime(deadline=10.0)
    background = Background(resources=Resources(cpus=1), slots=256)

    async def run(self, ctx: Context, message: Message) -> Message:
        return message
