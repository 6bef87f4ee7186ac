"""What a crash takes with it: whatever was not flushed, and nothing at any wait; a step that is `once` starts once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents import Agent, Background, Context, Mode, Progress, StepOutcomeUnknown
from agents.testing import Crash, Host

from .scripted import Pack, Script, Scripted, host, part

# once


async def test_a_step_that_may_run_once_never_runs_again() -> None:
    charged: list[int] = []

    async def script(ctx: Context) -> str:
        await ctx.step("charge", charged.append, 5, once=True)
        await ctx.step("thank", lambda: None)
        return "done"

    lucky = host(script)
    with pytest.raises(Crash):
        await lucky.run(None, crash_before="thank")
    assert await lucky.run() == "done"

    unlucky = host(script)
    with pytest.raises(Crash):
        await unlucky.run(None, crash_before="charge")
    for _ in range(2):
        with pytest.raises(StepOutcomeUnknown, match=r"charge#0.*look up where it acts"):
            await unlucky.run()
    assert charged == [5, 5]


async def test_a_step_that_may_run_once_and_raised_does_not_run_again_either() -> None:
    tries = 0

    async def script(ctx: Context) -> None:
        def charge() -> None:
            nonlocal tries
            tries += 1
            raise ValueError("declined")

        try:
            await ctx.step("charge", charge, key="k", once=True)
        except ValueError:
            await ctx.step("charge", charge, key="k", once=True)

    with pytest.raises(StepOutcomeUnknown, match="charge:k"):
        await host(script).run(None)
    assert tries == 1


async def test_in_real_time_a_step_that_may_run_once_simply_runs() -> None:
    async def script(ctx: Context) -> int:
        return await ctx.step("charge", lambda: 5, once=True)

    assert await host(script, mode=Mode.REALTIME).run(None) == 5


# durability


def lax(durability: Any, script: Script) -> Host[None, Any]:
    class Lax(Scripted):
        background = Background(durability=durability)

    return Host(Lax(script), agents=[Pack()])


@pytest.mark.parametrize("durability", ["batched", "exit"])
async def test_what_was_not_flushed_goes_with_a_crash(durability: str) -> None:
    async def script(ctx: Context) -> str:
        await ctx.step("a", lambda: 1)
        await ctx.sleep(10)
        await ctx.step("b", lambda: 2)
        await ctx.emit(Progress(message="b"))
        await ctx.step("c", lambda: 3)
        return "done"

    task = lax(durability, script)
    with pytest.raises(Crash):
        await task.finish(None, crash_after="b")
    assert [str(record.id) for record in task.journal] == ["a#0", "sleep#0"]

    assert await task.finish() == "done"
    assert task.ran == ["a#0", "b#0", "b#0", "c#0"]
    assert len(task.events) == 1


@pytest.mark.parametrize("flushes", ["once", "call"])
async def test_what_went_before_a_call_or_a_step_that_may_run_once_is_flushed_with_it(flushes: str) -> None:
    async def script(ctx: Context) -> str:
        await ctx.step("a", lambda: 1)
        if flushes == "once":
            await ctx.step("b", lambda: 2, once=True)
        else:
            await ctx.call(Pack, part(1))
        return "done"

    task = lax("exit", script)
    with pytest.raises(Crash):
        await task.run(None, crash_after="b" if flushes == "once" else "call pack")

    assert [str(record.id) for record in task.journal] == ["a#0"]


# at any wait


class Order(Agent[int, list[str]]):
    """Waits in every way."""

    name = "order"

    async def run(self, ctx: Context, parts: int) -> list[str]:
        await ctx.emit(Progress(message="accepted"))
        plan = await ctx.step("plan", lambda: list(range(parts)))
        async with asyncio.TaskGroup() as group:
            approved = group.create_task(ctx.signal("approved", timeout=60))
            checked = group.create_task(self.check(ctx))
        packed = await ctx.map(Pack, [part(n) for n in plan], parallel=2)
        await ctx.sleep(3600, key="cool down")
        last = await ctx.call(Pack, part(99))
        return [approved.result(), checked.result(), *(each.label for each in packed), last.label]

    async def check(self, ctx: Context) -> str:
        await ctx.sleep(5)
        return await ctx.step("check", lambda: "checked")


PLACES = [
    "plan#0",
    "signal approved/until#0",
    "signal approved#0",
    "sleep#0",
    "check#0",
    "map pack#0/0",
    "map pack#0/3",
    "sleep:cool down",
    "call pack#0",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
async def test_a_crash_at_any_wait_changes_nothing(when: str, place: str) -> None:
    agent = Pack()
    order = Host(Order(), agents=[agent])
    order.send("approved", "yes")

    with pytest.raises(Crash):
        await order.finish(4, **{when: place})  # type: ignore[arg-type]

    assert await order.finish() == ["yes", "checked", "part 0", "part 1", "part 2", "part 3", "part 99"]
    assert agent.ran == 5
    assert len(order.children) == 5
    assert order.attempts == 2
    assert [event.type for event in order.events] == ["progress"]
