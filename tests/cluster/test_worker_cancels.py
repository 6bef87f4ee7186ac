"""A cancel ends a run wherever it is, and lets what cannot be interrupted finish."""

from __future__ import annotations

import asyncio
import threading

from agents import Context
from cluster.claims import Ending, Verdict

from .links import BEFORE, MemoryLink
from .workers import Deaths, Given, add, beat, settle, slow, working


async def test_a_cancel_ends_a_run_that_waits() -> None:
    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("forever", slow)

    link = MemoryLink()
    async with working(link, script) as worker:
        row = link.submit()
        await link.until(lambda: bool(worker.held()))
        await settle()
        link.cancel(row)
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.CANCELED)]
    assert row.steps == []


async def test_a_cancel_that_comes_with_the_claim_ends_it_unbegun() -> None:
    begun = []

    async def script(ctx: Context, given: Given) -> int:
        begun.append(given.n)
        return 1

    link = MemoryLink()
    row = link.submit()
    row.cancel = True
    async with working(link, script):
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.CANCELED)]
    assert begun == []


async def test_a_run_that_answers_a_cancel_with_an_output_is_canceled_all_the_same() -> None:
    async def script(ctx: Context, given: Given) -> int:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return 1
        return 0

    link = MemoryLink()
    async with working(link, script) as worker:
        row = link.submit()
        await link.until(lambda: bool(worker.held()))
        await settle()
        link.cancel(row)
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.CANCELED)]


async def test_the_first_reason_to_interrupt_a_run_decides() -> None:
    begun, go = threading.Event(), threading.Event()

    def blocking() -> int:
        begun.set()
        go.wait(5)
        return 7

    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("blocking", blocking)

    link = MemoryLink()
    async with working(link, script, grace=5.0) as worker:
        row = link.submit()
        await asyncio.to_thread(begun.wait, 5)
        link.cancel(row)
        await settle()
        stopped = asyncio.create_task(worker.stop())
        await asyncio.sleep(0.02)
        go.set()
        await stopped

    assert row.verdicts == [Verdict(Ending.CANCELED)]


async def test_a_cancel_lets_a_sync_step_finish_and_records_it() -> None:
    begun, go = threading.Event(), threading.Event()

    def blocking() -> int:
        begun.set()
        go.wait(5)
        return 7

    async def script(ctx: Context, given: Given) -> int:
        await ctx.step("blocking", blocking)
        return await ctx.step("never", add, 1, 1)

    link = MemoryLink()
    deaths = Deaths()
    async with working(link, script, die=deaths, grace=5.0):
        row = link.submit()
        await asyncio.to_thread(begun.wait, 5)
        link.cancel(row)
        await settle()
        assert row.verdicts == []
        go.set()
        await link.ended(row)

    assert row.steps == ["blocking#0"]
    assert row.verdicts == [Verdict(Ending.CANCELED)]
    assert deaths.count == 0


async def test_a_heartbeat_tells_of_a_cancel_and_repeating_it_does_no_harm() -> None:
    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("forever", slow)

    link = MemoryLink()
    link.fault = lambda method: BEFORE if method == "pull" and link.calls["pull"] > 1 else ""
    row = link.submit()
    async with working(link, script) as worker:
        await link.until(lambda: bool(worker.held()))
        await settle()
        row.cancel = True
        await beat(worker)
        await beat(worker)
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.CANCELED)]
