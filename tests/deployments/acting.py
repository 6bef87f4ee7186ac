"""An agent that does as it is told, for everything that can happen in a run."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agents import Agent, Artifact, Context, Permanent, Progress, Realtime, Retryable, TextDelta
from agents.errors import InvalidInput, Overloaded


class Order(BaseModel):
    """What to do, and with what."""

    do: str = "answer"
    text: str = ""
    file: Artifact | None = None


class Done(BaseModel):
    """What came of it."""

    text: str


class Act(Agent[Order, Done]):
    """Does as it is told."""

    name = "act"
    realtime = Realtime(deadline=5.0, slots=64)

    gate: ClassVar[threading.Event] = threading.Event()  # what a plain step that hangs waits for
    cancelled: ClassVar[list[str]] = []

    async def run(self, ctx: Context, order: Order) -> Done:
        return await DEEDS[order.do](ctx, order)


async def answer(ctx: Context, order: Order) -> Done:
    return Done(text=order.text)


async def sleep(ctx: Context, order: Order) -> Done:
    """Until cancelled; leaves the text behind, as a file where it is an absolute path."""
    await ctx.emit(Progress(message="asleep"))
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        Act.cancelled.append(order.text)
        if order.text.startswith("/"):
            Path(order.text).touch()  # noqa: ASYNC240
        raise
    return Done(text="awake")


async def hang(ctx: Context, order: Order) -> Done:
    return Done(text=await ctx.step("hang", _hang))


def _hang() -> str:
    Act.gate.wait()
    return "let go"


async def nap(ctx: Context, order: Order) -> Done:
    """A plain step that takes its time."""
    await ctx.step("nap", time.sleep, float(order.text))
    return Done(text="rested")


async def talk(ctx: Context, order: Order) -> Done:
    await ctx.emit(Progress(message="first"))

    async def speak(text: str) -> str:
        await ctx.emit(TextDelta(text=text))
        return text.upper()

    word = await ctx.step("speak", speak, order.text)
    await ctx.emit(TextDelta(text="last"))
    return Done(text=word)


async def chatter(ctx: Context, order: Order) -> Done:
    for number in range(int(order.text)):
        await ctx.emit(Progress(message=str(number)))
        Act.cancelled.append(str(number))
    return Done(text="out of breath")


async def wait_between(ctx: Context, order: Order) -> Done:
    """One event, then the text's seconds of silence."""
    await ctx.emit(Progress(message="before"))
    await asyncio.sleep(float(order.text))
    return Done(text="after")


async def keep(ctx: Context, order: Order) -> Done:
    artifact = await ctx.artifact(order.text.encode(), name="text")
    return Done(text=await ctx.step("read", _read, artifact))


def _read(artifact: Artifact) -> str:
    return artifact.read().decode()


async def read(ctx: Context, order: Order) -> Done:
    assert order.file is not None
    return Done(text=f"{ctx.tenant} {await ctx.step('read', _read, order.file)}")


async def introduce(ctx: Context, order: Order) -> Done:
    return Done(text=f"{ctx.mode} {ctx.attempt} {ctx.task_id} {4 < ctx.remaining() <= 5}")


async def wrong_type(ctx: Context, order: Order) -> Any:
    return {"words": order.text}


async def surrogate(ctx: Context, order: Order) -> Done:
    return Done(text="\ud800")


async def too_much(ctx: Context, order: Order) -> Done:
    return Done(text="x" * 1024 * 1024)


async def give_up(ctx: Context, order: Order) -> Done:
    raise Permanent(order.text)


async def later(ctx: Context, order: Order) -> Done:
    raise Retryable(order.text, after=7)


async def refuse(ctx: Context, order: Order) -> Done:
    raise InvalidInput("this cannot be done", ("text: is not a verb",))


async def busy(ctx: Context, order: Order) -> Done:
    raise Overloaded("the model has no room", retry_after=3)


async def crash(ctx: Context, order: Order) -> Done:
    raise ValueError(order.text)


async def crash_in_step(ctx: Context, order: Order) -> Done:
    return Done(text=await ctx.step("divide", lambda: str(1 / 0)))


async def crash_together(ctx: Context, order: Order) -> Done:
    async with asyncio.TaskGroup() as group:
        group.create_task(give_up(ctx, order))
        group.create_task(asyncio.sleep(60))
    return Done(text="never")


async def leave(ctx: Context, order: Order) -> Done:
    sys.exit(order.text)


async def leave_in_step(ctx: Context, order: Order) -> Done:
    return Done(text=await ctx.step("leave", sys.exit, order.text))


async def wait(ctx: Context, order: Order) -> Done:
    """For what only the background can wait for."""
    match order.text:
        case "sleep":
            await ctx.sleep(1)
        case "signal":
            await ctx.signal("approved")
        case "call":
            await ctx.call(Act, Order())
        case "map":
            await ctx.map(Act, [Order()])
        case reason:
            await ctx.promote(reason)
    return Done(text="went on")


async def once(ctx: Context, order: Order) -> Done:
    return Done(text=await ctx.step("once", str.upper, order.text, once=True))


async def cancel_itself(ctx: Context, order: Order) -> Done:
    raise asyncio.CancelledError


async def deaf(ctx: Context, order: Order) -> Done:
    """Goes on after it was cancelled, and still talks."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await ctx.emit(Progress(message="I go on"))
    return Done(text="too late")


DEEDS: dict[str, Callable[[Context, Order], Awaitable[Done]]] = {
    deed.__name__: deed
    for deed in (
        *(answer, sleep, hang, nap, talk, chatter, wait_between, keep, introduce, wrong_type, surrogate, too_much),
        *(give_up, later, refuse, busy, crash, crash_in_step, crash_together, leave, leave_in_step, cancel_itself),
        *(deaf, wait, once, read),
    )
}


class Warm(Agent[Order, Done]):
    """Takes a while to set up, and says how often it was."""

    name = "warm"
    background = None

    def __init__(self) -> None:
        self.setups = 0

    def setup(self) -> None:
        time.sleep(1)
        self.setups += 1

    async def run(self, ctx: Context, order: Order) -> Done:
        return Done(text=str(self.setups))


class Elastic(Agent[Order, Done]):
    """Takes the text's seconds, and says in which process; takes a while to warm up."""

    name = "elastic"
    realtime = Realtime(deadline=60, slots=2, queue=64, min_replicas=1, max_replicas=3)
    background = None
    warm = False

    async def warmup(self, ctx: Context) -> None:
        await ctx.step("load", time.sleep, 1)
        self.warm = True

    async def run(self, ctx: Context, order: Order) -> Done:
        assert self.warm
        await asyncio.sleep(float(order.text))
        return Done(text=str(os.getpid()))


class Broken(Agent[Order, Done]):
    """Cannot be set up."""

    name = "broken"

    def setup(self) -> None:
        raise OSError("the model file is damaged")

    async def run(self, ctx: Context, order: Order) -> Done:
        return Done(text="never")


async def start_greeting(text: str) -> ASGIApp:
    """An application in the place of the gateway."""

    async def greeting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
        else:
            await Response(text)(scope, receive, send)

    return greeting


class Town(Agent[str, str]):
    """Says what its environment has."""

    name = "town"

    async def run(self, ctx: Context, input: str) -> str:
        return f"{os.environ['TOWN']} {os.environ['OF_THE_PODS']}"
