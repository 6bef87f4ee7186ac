"""Sleeps, running time and deadlines, on real workers and a real ledger."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents import Context, Retryable

from .house import agent, error, house
from .making import ManualClock

# sleep


async def naps(ctx: Context, number: int) -> str:
    await ctx.step("before", lambda: 1)
    await ctx.sleep(number / 1000)
    await ctx.step("after", lambda: 2)
    return "awake"


async def test_a_sleep_holds_no_slot_and_is_no_attempt() -> None:
    async with house() as home:
        home.hire(agent("naps", naps), slots=1)
        ids = [await home.submit("naps", 100) for _ in range(20)]
        tasks = [await home.ended(id) for id in ids]

        assert [(task.output, task.attempts) for task in tasks] == [('"awake"', 1)] * 20
        assert await home.recorded(ids[0]) == ["before#0", "sleep#0", "after#0"]
        kinds = [kind for kind in await home.events(ids[0]) if kind != "step.completed"]
        assert kinds == ["attempt.started", "waiting", "output"]


async def test_a_sleep_goes_on_after_the_ledger_and_the_worker_died() -> None:
    async with house() as home:
        home.hire(agent("naps", naps))
        id = await home.submit("naps", 200)
        await home.until(id, "waiting")
        await home.kill()
        await home.close()
        await asyncio.sleep(0.25)
        await home.open()
        home.hire(agent("naps", naps), id="w2")

        ended = await home.ended(id)

    assert (ended.output, ended.attempts) == ('"awake"', 1)


async def test_a_worker_that_dies_over_a_run_that_slept_costs_nothing_and_repeats_nothing() -> None:
    ran: list[str] = []
    stuck = asyncio.Event()

    async def script(ctx: Context, number: int) -> str:
        await ctx.step("before", ran.append, "before")
        await ctx.sleep(0.02)
        await ctx.step("between", ran.append, "between")
        if not stuck.is_set():
            stuck.set()
            await asyncio.sleep(3600)
        return "awake"

    async with house() as home:
        home.hire(agent("naps", script))
        id = await home.submit("naps")
        await asyncio.wait_for(stuck.wait(), 10)
        await home.kill()
        home.hire(agent("naps", script), id="w2")
        ended = await home.ended(id)

    assert (ended.output, ended.attempts, ran) == ('"awake"', 1, ["before", "between"])


async def test_a_sleep_beside_a_working_branch_ends_in_the_same_claim() -> None:
    async def script(ctx: Context, number: int) -> Any:
        async def nap() -> str:
            await ctx.sleep(0.02)
            return await ctx.step("rested", lambda: "rested")

        return await asyncio.gather(nap(), ctx.step("work", asyncio.sleep, 0.2))

    async with house() as home:
        home.hire(agent("both", script))
        ended = await home.ended(id := await home.submit("both"))

        assert (ended.output, ended.fence) == ('["rested",null]', 1)
        assert await home.recorded(id) == ["sleep#0", "rested#0", "work#0"]


# time


async def test_running_seconds_add_up_over_waits() -> None:
    clock = ManualClock()
    beat = asyncio.Event()

    async def script(ctx: Context, number: int) -> int:
        for turn in range(10):
            if turn == len(remaining):
                remaining.append(ctx.remaining())
                clock.advance(4)  # of running
                beat.set()
            await ctx.sleep(1000)
        return number

    remaining: list[float] = []
    async with house(clock) as home:
        home.hire(agent("long", script))
        id = await home.submit("long", timeout=10.0, max_attempts=1)
        for turn in range(2):
            waiting = await home.until(id, "waiting")
            assert waiting.ran == 4.0 * (turn + 1)
            clock.advance(1001)
            beat.clear()
            await asyncio.wait_for(beat.wait(), 10)
        waiting = await home.until(id, "waiting")
        assert waiting.ran == 12.0
        clock.advance(1001)
        ended = await home.ended(id)

    assert remaining == [pytest.approx(10, abs=1), pytest.approx(6, abs=1), pytest.approx(2, abs=1)]
    assert (ended.state, error(ended)["type"], ended.attempts) == ("failed", "timeout", 1)


@pytest.mark.slow
async def test_an_attempt_after_a_failed_one_has_all_its_time_again() -> None:
    clock = ManualClock()
    remaining: list[float] = []

    async def script(ctx: Context, number: int) -> int:
        remaining.append(ctx.remaining())
        clock.advance(8)
        await ctx.sleep(1)
        if ctx.attempt == 1:
            raise Retryable("again", after=1)
        return number

    async with house(clock) as home:
        home.hire(agent("long", script))
        id = await home.submit("long", timeout=20.0)
        await home.until(id, "waiting")
        clock.advance(2)
        while not (await home.until(id, "queued")).run_at:
            await asyncio.sleep(0.002)
        clock.advance(1)
        await home.ended(id)

    assert remaining == [pytest.approx(each, abs=1.5) for each in (20, 12, 20)]


async def test_a_deadline_ends_a_run_as_expired_and_it_is_not_tried_again() -> None:
    async def script(ctx: Context, number: int) -> None:
        assert ctx.remaining() < 1
        await asyncio.sleep(3600)

    async with house() as home:
        home.hire(agent("slow", script))
        now = home.ledger._clock.now()
        ended = await home.ended(await home.submit("slow", deadline=now + 0.3))

    assert (ended.state, ended.attempts) == ("failed", 1)
    assert error(ended) == {
        "type": "expired",
        "title": "The deadline passed",
        "detail": "The task was not over when its deadline passed.",
        "step": None,
        "attempt": 1,
    }


async def test_a_parents_deadline_ends_its_children() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("slow", [1, 2])

    async def slow(ctx: Context, number: int) -> None:
        if number == 1:
            await asyncio.sleep(3600)
        await ctx.signal("never")

    async with house() as home:
        home.hire(agent("parent", parent), agent("slow", slow))
        id = await home.submit("parent", deadline=home.ledger._clock.now() + 0.4)
        ended = await home.ended(id)
        children = [await home.ended(child.id) for child in await home.children(id)]

    assert error(ended)["type"] == "expired"
    assert [child.deadline for child in children] == [ended.deadline] * 2
    assert {child.state for child in children} <= {"failed", "canceled"}
    assert len(children) == 2


async def test_a_tasks_own_retry_policy_goes_before_its_agents() -> None:
    clock = ManualClock()
    runs: list[float] = []

    async def script(ctx: Context, number: int) -> None:
        runs.append(clock.time)
        raise ValueError("again")

    async with house(clock) as home:
        home.hire(agent("flaky", script))
        extra = '{"retry": {"base": 70, "cap": 70, "jitter": 0}}'
        id = await home.submit("flaky", max_attempts=2, extra=extra)
        while not (waits := await home.task(id)).run_at:
            await asyncio.sleep(0.002)

    assert waits.run_at == pytest.approx(clock.time + 70)
