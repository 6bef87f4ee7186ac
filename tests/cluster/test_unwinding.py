"""How a run that waits ends: canceled, given back, drained, or though its code clings to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from agents import Context, Progress

from .house import agent, double, house


async def hangs(ctx: Context, number: int) -> None:
    await asyncio.sleep(3600)


async def test_canceling_a_parent_that_waits_cancels_its_children_at_once_started_or_not() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("hangs", range(4))

    async with house() as home:
        both = agent("parent", parent), agent("hangs", hangs)
        home.hire(both[0], slots=1, callees=both)
        worker = home.hire(both[1], id="w2", slots=2)
        worker.heartbeat.stop()  # its pull must tell it
        id = await home.submit("parent")
        await home.until(id, "waiting")
        while len(worker.held()) < 2:
            await asyncio.sleep(0.002)
        canceled = await home.ledger.cancel("", id)
        children = [await home.ended(child.id) for child in await home.children(id)]

        assert canceled is not None
        assert (canceled.state, len(children)) == ("canceled", 4)
        assert {child.state for child in children} == {"canceled"}


async def test_canceling_a_running_parent_ends_a_branch_that_waits_and_lets_it_call_nobody() -> None:
    unwound: list[str] = []
    working = asyncio.Event()

    async def parent(ctx: Context, number: int) -> None:
        async def wait() -> None:
            try:
                await ctx.signal("never")
            except asyncio.CancelledError:
                unwound.append("cancelled")
                await ctx.call("double", 1)

        async def work() -> None:
            working.set()
            await asyncio.sleep(3600)

        await asyncio.gather(wait(), ctx.step("work", work))

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        id = await home.submit("parent")
        await asyncio.wait_for(working.wait(), 10)
        await home.ledger.cancel("", id)
        ended = await home.ended(id)

        assert (ended.state, unwound) == ("canceled", ["cancelled"])
        assert await home.children(id) == []


async def test_a_worker_that_stops_gives_back_a_run_with_a_branch_that_waits() -> None:
    async def script(ctx: Context, number: int) -> Any:
        return await asyncio.gather(ctx.signal("word"), ctx.step("work", asyncio.sleep, number))

    async with house() as home:
        first = home.hire(agent("both", script))
        id = await home.submit("both", 3600)
        await home.until(id, "running")
        await first.stop()
        assert (await home.task(id)).attempts == 0

        home.hire(agent("both", script), id="w2")
        await home.until(id, "running")
        await home.ledger.cancel("", id)
        assert (await home.ended(id)).state == "canceled"


async def test_a_worker_that_drains_is_done_with_a_run_that_waits() -> None:
    async def script(ctx: Context, number: int) -> Any:
        await ctx.step("work", asyncio.sleep, 0.05)
        return await ctx.signal("word")

    async with house() as home:
        first = home.hire(agent("both", script))
        id = await home.submit("both")
        await home.until(id, "running")
        await asyncio.wait_for(first.drain(), 10)

        assert (await home.task(id)).state == "waiting"


async def test_a_run_that_swallows_its_wait_waits_and_records_nothing_more() -> None:
    async def script(ctx: Context, number: int) -> str:
        try:
            await ctx.signal("word")
        except BaseException:
            await ctx.emit(Progress(message="swallowed"))
            raise
        return "heard"

    async def returns(ctx: Context, number: int) -> str:
        found = await asyncio.gather(ctx.signal("word"), return_exceptions=True)
        return str(found[0])

    async with house() as home:
        home.hire(agent("emits", script), agent("returns", returns))
        ids = [await home.submit("emits"), await home.submit("returns")]
        for id in ids:
            await home.until(id, "waiting")
            await home.ledger.signal("", id, "word", '"go"')
        ended = [await home.ended(id) for id in ids]

        assert [task.output for task in ended] == ['"heard"', '"go"']
        assert "progress" not in await home.events(ids[0])


@pytest.mark.slow
async def test_a_run_that_does_not_unwind_waits_and_its_worker_drains() -> None:
    go = asyncio.Event()

    async def clings(ctx: Context, number: int) -> None:
        while not go.is_set():
            with suppress(BaseException):
                await ctx.signal("word")

    async with house() as home:
        worker = home.hire(agent("clings", clings))
        id = await home.submit("clings")

        await home.until(id, "waiting")
        assert worker._poisoned
        go.set()
