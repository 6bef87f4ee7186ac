"""A worker whose node goes: what is in progress may end if it fits, nothing new begins, and claims go back at once."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agents import Context, Progress
from cluster.claims import Ending, Verdict
from cluster.worker import Worker

from .direct import Direct, opened, ticking
from .links import MemoryLink
from .test_worker_on_ledger import ended, several
from .test_worker_on_ledger import worker as on_ledger
from .workers import Given, Script, add, make, settle, slow

RELEASED = Verdict(Ending.RELEASED)
LONG = 3600.0


@asynccontextmanager
async def busy(
    link: MemoryLink, script: Script, until: Callable[[], bool], runs: int = 1, **options: Any
) -> AsyncIterator[Worker]:
    """A worker with so many runs, once that holds of them; it must have ended by itself afterwards."""
    worker = make(link, script, **options)
    running = asyncio.create_task(worker.run())
    for _ in range(runs):
        link.submit()
    await link.until(lambda: len(worker.held()) == runs and until())
    await settle()
    yield worker
    await asyncio.wait_for(running, 5)


class Gate:
    """A step that lasts until it is told, and knows that it began."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def step(self) -> int:
        self.begun.set()
        await self.go.wait()
        return 7


@pytest.fixture
def link() -> MemoryLink:
    return MemoryLink()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


async def vacated(worker: Worker, within: float) -> asyncio.Task[None]:
    """The worker was told, and has done what can be done at once."""
    leaving = asyncio.create_task(worker.vacate(within))
    await asyncio.sleep(0)
    await settle(60)
    return leaving


@pytest.mark.parametrize("within", [LONG, math.inf])
async def test_a_step_in_progress_is_recorded_and_its_claim_goes_back_before_the_next(
    link: MemoryLink, gate: Gate, within: float
) -> None:
    begun: list[str] = []

    async def script(ctx: Context, given: Given) -> int:
        value: int = await ctx.step("first", gate.step)
        begun.append("next")
        return await ctx.step("second", add, value, 1)

    async with busy(link, script, gate.begun.is_set) as worker:
        leaving = await vacated(worker, within)
        assert not leaving.done()
        gate.go.set()
        await asyncio.wait_for(leaving, 5)

    (row,) = link.rows.values()
    assert (row.steps, row.verdicts) == (["first#0"], [RELEASED])
    assert (row.queued, row.task.attempts) == (True, 0)
    assert begun == ["next"], "the run went on to its next step, which did not begin"


async def test_what_is_between_steps_goes_back_at_once_and_nothing_more_is_taken(link: MemoryLink) -> None:
    async def script(ctx: Context, given: Given) -> int:
        await ctx.step("add", add, given.n, 1)
        await asyncio.sleep(LONG)
        return 0

    async with busy(link, script, lambda: all(row.steps for row in link.rows.values()), runs=3) as worker:
        await vacated(worker, LONG)
        link.submit()

    first = list(link.rows.values())[:3]
    assert [row.verdicts for row in first] == [[RELEASED]] * 3
    assert list(link.rows.values())[3].verdicts == []


async def test_a_run_that_ends_with_the_step_in_progress_is_completed(link: MemoryLink, gate: Gate) -> None:
    async def script(ctx: Context, given: Given) -> int:
        first, second = await asyncio.gather(ctx.step("a", gate.step), ctx.step("b", gate.step))
        await ctx.emit(Progress(message="nobody hears this"))
        return int(first + second)

    async def quick(ctx: Context, given: Given) -> int:
        first, second = await asyncio.gather(ctx.step("a", gate.step), ctx.step("b", gate.step))
        return int(first + second)

    for each, verdict in ((quick, Verdict(Ending.COMPLETED, output="14")), (script, RELEASED)):
        gate.begun.clear()
        gate.go.clear()
        found = MemoryLink()
        async with busy(found, each, gate.begun.is_set) as worker:
            await vacated(worker, LONG)
            gate.go.set()
        (row,) = found.rows.values()
        assert (sorted(row.steps), row.verdicts) == (["a#0", "b#0"], [verdict])


async def test_a_branch_that_would_begin_a_step_does_not_hold_up_one_that_is_in_it(
    link: MemoryLink, gate: Gate
) -> None:
    knock = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        async def late() -> int:
            await knock.wait()
            return int(await ctx.step("late", add, 1, 1))

        return sum(await asyncio.gather(ctx.step("early", gate.step), late()))

    async with busy(link, script, gate.begun.is_set) as worker:
        leaving = await vacated(worker, LONG)
        knock.set()
        await settle(60)
        assert not leaving.done()
        gate.go.set()

    (row,) = link.rows.values()
    assert (row.steps, row.verdicts) == (["early#0"], [RELEASED])


async def test_within_a_step_in_progress_all_goes_on(link: MemoryLink, gate: Gate) -> None:
    async def script(ctx: Context, given: Given) -> int:
        async def outer() -> int:
            value = await gate.step()
            await ctx.emit(Progress(message="inside"))
            return int(await ctx.step("inner", add, value, 1, key="k"))

        value = await ctx.step("outer", outer)
        return int(await ctx.step("after", add, value, 1))

    async with busy(link, script, gate.begun.is_set) as worker:
        await vacated(worker, LONG)
        gate.go.set()

    (row,) = link.rows.values()
    assert (row.steps, row.verdicts) == (["inner:k", "outer#0"], [RELEASED])
    assert any("inside" in said for said in row.said)


async def test_a_run_whose_other_branch_waits_is_let_wait_elsewhere(link: MemoryLink, gate: Gate) -> None:
    async def script(ctx: Context, given: Given) -> int:
        await asyncio.gather(ctx.step("early", gate.step), ctx.sleep(LONG))
        return 0

    async with busy(link, script, gate.begun.is_set) as worker:
        await vacated(worker, LONG)
        gate.go.set()

    (row,) = link.rows.values()
    assert "early#0" in row.steps
    assert [verdict.ending for verdict in row.verdicts] == [Ending.WAITING]


async def test_what_does_not_fit_is_cut_short_in_time_to_be_told(link: MemoryLink) -> None:
    cut = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        try:
            return int(await ctx.step("forever", slow))
        except asyncio.CancelledError:
            cut.set()
            raise

    loop = asyncio.get_running_loop()
    async with busy(link, script, lambda: True, grace=60) as worker:
        began = loop.time()
        await asyncio.wait_for(worker.vacate(0.4), 5)

    (row,) = link.rows.values()
    assert cut.is_set()
    assert (row.steps, row.verdicts, row.task.attempts) == ([], [RELEASED], 0)
    assert loop.time() - began >= 0.2, "half of the notice was its own"


async def test_a_step_in_a_thread_that_does_not_end_keeps_no_claim_back(link: MemoryLink) -> None:
    hung, deaths = threading.Event(), list[int]()

    def hang() -> None:
        hung.wait(20)

    async def script(ctx: Context, given: Given) -> int:
        await ctx.step("hang", hang)
        return 0

    try:
        async with busy(link, script, lambda: True, grace=60, die=lambda: deaths.append(1)) as worker:
            await asyncio.wait_for(worker.vacate(0.4), 5)
    finally:
        hung.set()

    (row,) = link.rows.values()
    assert (row.verdicts, row.task.attempts, deaths) == ([RELEASED], 0, [1])


async def test_the_shorter_of_two_notices_holds(link: MemoryLink) -> None:
    async def script(ctx: Context, given: Given) -> int:
        return int(await ctx.step("forever", slow))

    async with busy(link, script, lambda: True) as worker:
        notices = [await vacated(worker, within) for within in (math.inf, LONG, 0.2, LONG)]
        await asyncio.wait_for(asyncio.gather(*notices), 5)

    (row,) = link.rows.values()
    assert row.verdicts == [RELEASED]


async def test_one_that_has_ended_or_not_begun_has_nothing_to_leave(link: MemoryLink) -> None:
    worker = make(link, lambda ctx, given: asyncio.sleep(0, 1))
    await asyncio.wait_for(worker.vacate(LONG), 5)
    await asyncio.wait_for(worker.run(), 5)
    await asyncio.wait_for(worker.vacate(1.0), 5)


async def test_another_worker_goes_on_at_the_first_step_that_is_not_recorded() -> None:
    ran: list[tuple[str, int]] = []
    gates = [asyncio.Event() for _ in range(3)]

    async def work(where: str, n: int, number: int) -> int:
        ran.append((where, number))
        if where == "w1" and number == 1:
            await gates[n].wait()
        return number

    def steps(where: str) -> Any:
        async def script(ctx: Context, given: Given) -> int:
            async def one(number: int) -> int:
                return await work(where, given.n, number)

            return sum([await ctx.step("work", one, number) for number in range(4)])

        return script

    store = await opened()
    async with ticking(store) as ledger:
        first, second = on_ledger("w1", Direct(ledger), steps("w1")), on_ledger("w2", Direct(ledger), steps("w2"))
        runs = [asyncio.create_task(first.run())]
        accepted = await ledger.submit(several(3))
        while ran.count(("w1", 1)) < 3:
            await asyncio.sleep(0.001)
        leaving = asyncio.create_task(first.vacate(LONG))
        await asyncio.sleep(0.01)
        runs.append(asyncio.create_task(second.run()))
        for gate in gates:
            gate.set()
        tasks = await ended(ledger, accepted.task_ids)
        await leaving
        await second.stop()
        await asyncio.gather(*runs)

    assert [(task.output, task.attempts) for task in tasks] == [("6", 1)] * 3
    assert sorted(ran) == sorted([("w1", number) for number in (0, 1)] * 3 + [("w2", number) for number in (2, 3)] * 3)
