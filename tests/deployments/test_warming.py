"""That a replica is set up and warmed up before it takes traffic, and does not start where that fails."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import pytest

from agents import Agent, Artifact, Context, Progress, Realtime
from agents.catalog import Entry, load
from agents.errors import NotLoadable
from deployments.serving import ReplicaPlan, start_replica
from deployments.warming import ready

from .acting import Act, Done, Order

GATE = threading.Event()


class Warmed(Agent[Order, Done]):
    """Says what happened to it."""

    name = "warmed"
    realtime = Realtime(deadline=5)

    def __init__(self) -> None:
        self.happened: list[str] = []

    def setup(self) -> None:
        self.happened.append("set up")

    async def warmup(self, ctx: Context) -> None:
        self.loop = asyncio.get_running_loop()
        self.artifact = await ctx.artifact(b"a page")
        read = await ctx.step("read", _read, self.artifact)
        await ctx.emit(Progress(message=read))
        assert 0 < ctx.remaining() <= 120
        self.happened.append(f"warmed up in {ctx.mode} by {read}")

    async def run(self, ctx: Context, order: Order) -> Done:
        return Done(text=", ".join(self.happened))


def _read(artifact: Artifact) -> str:
    return artifact.read().decode()


async def _raise(ctx: Context) -> None:
    raise OSError("no such\n  model")


async def _exit(ctx: Context) -> None:
    raise SystemExit(3)


async def _fail_together(ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_raise(ctx))


async def _cancel_itself(ctx: Context) -> None:
    raise asyncio.CancelledError


async def _wait_for_somebody(ctx: Context) -> None:
    await ctx.signal("go")


async def _sleep(ctx: Context) -> None:
    await asyncio.sleep(3600)


async def _hang(ctx: Context) -> None:
    await ctx.step("hang", GATE.wait)


warming: ContextVar[Callable[[Context], Awaitable[None]]] = ContextVar("warming")


class Told(Act):
    """Warms up as the test says."""

    async def warmup(self, ctx: Context) -> None:
        await warming.get()(ctx)


def entry(agent: type[Agent[Order, Done]]) -> Entry:
    return replace(load("tests.deployments.acting:Act"), agent=agent)


async def test_a_replica_is_warmed_up_after_it_was_set_up_and_before_it_is_there() -> None:
    agent = await ready(entry(Warmed))

    assert isinstance(agent, Warmed)
    assert agent.happened == ["set up", "warmed up in realtime by a page"]
    assert agent.loop is asyncio.get_running_loop()


async def test_what_a_warmup_keeps_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    await ready(entry(Warmed))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (_raise, "OSError: no such model"),
        (_exit, "SystemExit: 3"),
        (_fail_together, "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"),
        (_cancel_itself, "RuntimeError: it cancelled itself"),
        (_wait_for_somebody, "NeedsBackground: this run must wait for 'signal go'; submit it as a task"),
    ],
)
async def test_a_warmup_that_fails_keeps_the_replica_from_starting_and_says_why(
    how: Callable[[Context], Awaitable[None]], why: str
) -> None:
    warming.set(how)

    with pytest.raises(NotLoadable) as refused:
        await ready(entry(Told))

    assert str(refused.value) == f"tests.deployments.acting:Act: its warmup(ctx) raised {why}"


@pytest.mark.parametrize("how", [_sleep, _hang])
async def test_a_warmup_that_takes_too_long_is_not_waited_for(how: Callable[[Context], Awaitable[None]]) -> None:
    warming.set(how)
    GATE.clear()

    try:
        with pytest.raises(NotLoadable, match=r"raised TimeoutError: it had not ended after 0\.05 s"):
            await ready(entry(Told), seconds=0.05)
    finally:
        GATE.set()


async def test_an_agent_that_cannot_be_set_up_is_refused_where_replicas_start(tmp_path: Path) -> None:
    with pytest.raises(NotLoadable) as refused:
        await start_replica(ReplicaPlan("tests.deployments.acting:Broken", str(tmp_path)))

    assert refused.value.reason == "its setup() raised OSError: the model file is damaged"
