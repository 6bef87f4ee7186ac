"""An agent that takes as long as the test lets it, in a replica; and what callers ask of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel

from agents import Agent, Context, Permanent
from deployments.replica import Replica

from .driving import Answer, Call, ask

Make = Callable[..., Replica]


class Question(BaseModel):
    text: str
    about: dict[str, int] = {}


class Clerk(Agent[Question, str]):
    """Takes as long as the test lets it, and counts what it is asked."""

    name = "clerk"
    gate: ClassVar[asyncio.Event]
    asked: ClassVar[list[str]] = []
    ended: ClassVar[list[str]] = []  # 'text' or 'text cancelled'
    left: ClassVar[list[float]] = []

    async def run(self, ctx: Context, question: Question) -> str:
        Clerk.asked.append(question.text)
        try:
            await Clerk.gate.wait()
        except asyncio.CancelledError:
            Clerk.ended.append(f"{question.text} cancelled")
            raise
        Clerk.left.append(ctx.remaining())
        if question.text == "wrong":
            raise Permanent("that is wrong")
        Clerk.ended.append(question.text)
        return f"{question.text} {len(Clerk.asked)}"


class Quick(Clerk):
    """Has something to say at once, sometimes."""

    name = "quick"

    async def simple(self, ctx: Context, question: Question) -> str | None:
        match question.text:
            case "none":
                return None
            case "slow":
                await asyncio.sleep(60)
            case "broken":
                raise ZeroDivisionError
            case "refused":
                raise Permanent("nothing to say")
            case "steps":
                return await ctx.step("upper", str.upper, question.text)
        return f"in short: {question.text}"


def body(text: str = "hello", **about: int) -> bytes:
    return json.dumps({"text": text, "about": about}).encode()


def call(app: Replica, text: str = "hello", **how: Any) -> Call:
    return Call(app, "POST", "/run", body(text), **how)


async def answer(app: Replica, text: str = "hello", **how: Any) -> Answer:
    return await ask(app, "POST", "/run", body(text), **how)


async def answer_of(call: Call) -> Answer:
    await asyncio.wait_for(call.task, 10)
    return Answer([call.sent.get_nowait() for _ in range(call.sent.qsize())])


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def told(answer: Answer) -> tuple[Any, str]:
    assert answer.status == 200, answer.body
    return answer.json, answer.headers["answer"]
