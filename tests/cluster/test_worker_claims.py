"""A worker that lost its claim, or whose lease may be over, starts and changes nothing more."""

from __future__ import annotations

import asyncio

from agents import Context
from cluster.claims import LEASE, MARGIN

from .links import BEFORE, MemoryLink
from .making import ManualClock
from .workers import Given, add, beat, settle, slow, working


async def test_a_lost_claim_changes_nothing_and_its_run_is_cancelled() -> None:
    begun, cancelled, go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(n: int) -> int:
        begun.set()
        await go.wait()
        return n

    async def script(ctx: Context, given: Given) -> int:
        await ctx.step("wait", wait, given.n)
        try:
            return await ctx.step("forever", slow)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    link = MemoryLink()
    async with working(link, script) as worker:
        row = link.submit()
        await begun.wait()
        link.steal(row)
        go.set()
        await asyncio.wait_for(link.until(lambda: bool(link.reports)), 5)
        await settle()

        assert worker.held() == ()
    assert row.steps == []
    assert row.verdicts == []
    assert not cancelled.is_set()  # it did not even get to the next step: the first was never acknowledged
    assert [report.number for report in link.reports] == [1]


async def test_a_heartbeat_tells_of_a_lost_claim() -> None:
    cancelled = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        try:
            return await ctx.step("forever", slow)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    link = MemoryLink()
    async with working(link, script) as worker:
        row = link.submit()
        await link.until(lambda: bool(worker.held()))
        await settle()
        link.steal(row)
        await beat(worker)

        assert cancelled.is_set()
        assert worker.held() == ()
    assert link.reports == []


async def test_a_report_on_its_way_is_not_repeated_once_its_claim_is_lost() -> None:
    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("add", add, given.n, 1)

    link = MemoryLink()
    link.fault = lambda method: BEFORE if method == "report" else ""
    async with working(link, script) as worker:
        row = link.submit()
        await link.until(lambda: link.calls["report"] > 1)
        link.steal(row)
        await beat(worker)
        await asyncio.sleep(0.03)  # a pause between tries is 0.01 at most
        tries = link.calls["report"]
        await asyncio.sleep(0.03)

        assert link.calls["report"] == tries
        assert worker.held() == ()
    assert row.steps == []


async def test_no_step_starts_after_the_lease_less_margin_until_it_is_renewed() -> None:
    clock = ManualClock()
    started: list[str] = []
    first, second = asyncio.Event(), asyncio.Event()

    async def quick(name: str) -> str:
        started.append(name)
        return name

    async def script(ctx: Context, given: Given) -> int:
        await first.wait()
        await ctx.step("quick", quick, "in time")
        await second.wait()
        await ctx.step("quick", quick, "too late")
        return 1

    link = MemoryLink()
    async with working(link, script, clock=lambda: clock.time) as worker:
        row = link.submit()
        await link.until(lambda: bool(worker.held()))
        clock.advance(LEASE - MARGIN - 0.001)
        first.set()
        await link.until(lambda: row.steps == ["quick#0"])
        clock.advance(0.001)
        second.set()
        await settle()
        assert started == ["in time"]
        await beat(worker)
        await link.ended(row)

    assert started == ["in time", "too late"]


async def test_the_lease_counts_from_when_the_heartbeat_was_sent() -> None:
    clock = ManualClock()
    go = asyncio.Event()
    started = []

    async def quick() -> int:
        started.append(1)
        return 1

    async def script(ctx: Context, given: Given) -> int:
        await go.wait()
        return await ctx.step("quick", quick)

    link = MemoryLink()

    def slow_beat(method: str) -> str:
        if method == "beat":
            clock.advance(LEASE - MARGIN)  # the answer took so long
        return ""

    async with working(link, script, clock=lambda: clock.time) as worker:
        row = link.submit()
        await link.until(lambda: bool(worker.held()))
        link.fault = slow_beat
        await beat(worker)
        go.set()
        await settle()

        assert started == []
        link.fault = lambda method: ""
        await beat(worker)
        await link.ended(row)
