"""How a worker ends: poisoned, stopped, drained, disowned, or with its loop; its neighbours' runs are seen to."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from agents import Context
from cluster.claims import Claim, Ending, Orders, Verdict

from .links import BEFORE, MemoryLink
from .workers import Deaths, Given, add, make, one, settle, slow


async def test_a_poisoned_worker_finishes_its_neighbours_and_then_dies() -> None:
    hung, finish = threading.Event(), asyncio.Event()

    def hang() -> None:
        hung.wait(10)

    async def script(ctx: Context, given: Given) -> int:
        if given.n == 0:
            await ctx.step("hang", hang)
        await finish.wait()
        return given.n

    link = MemoryLink()
    deaths = Deaths()
    worker = make(link, script, die=deaths)
    run = asyncio.create_task(worker.run())
    bad, good = link.submit('{"n": 0}', timeout=0.1, max_attempts=1), link.submit('{"n": 1}')
    await link.ended(bad)
    await settle()

    assert '"timeout"' in (bad.verdicts[0].error or "")
    late = link.submit('{"n": 2}')
    await settle()
    assert late.queued  # it takes no more
    assert deaths.count == 0
    finish.set()
    await asyncio.wait_for(run, 5)
    hung.set()
    assert good.verdicts == [Verdict(Ending.COMPLETED, output="1")]
    assert deaths.count == 1
    assert late.queued


async def test_a_run_that_swallows_cancellation_gets_its_verdict_and_poisons_the_worker() -> None:
    let_go = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        return await ctx.step("after the end", add, 1, 1)

    link = MemoryLink()
    deaths = Deaths()
    worker = make(link, script, die=deaths)
    run = asyncio.create_task(worker.run())
    row = link.submit()
    await link.until(lambda: bool(worker.held()))
    await settle()
    link.cancel(row)
    await link.ended(row)
    await asyncio.wait_for(run, 5)
    let_go.set()
    await settle()

    assert row.verdicts == [Verdict(Ending.CANCELED)]
    assert row.steps == []
    assert deaths.count == 1


async def test_a_run_that_unwinds_too_late_adds_no_verdict_and_the_worker_still_dies() -> None:
    let_go, finish, late = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        if given.n == 1:
            await finish.wait()
            return 1
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        late.set()
        return 0

    link = MemoryLink()
    deaths = Deaths()
    worker = make(link, script, die=deaths)
    run = asyncio.create_task(worker.run())
    row, neighbour = link.submit(), link.submit('{"n": 1}')
    await link.until(lambda: len(worker.held()) == 2)
    await settle()
    link.cancel(row)
    await link.ended(row)
    let_go.set()
    await late.wait()
    await settle()
    finish.set()
    await asyncio.wait_for(run, 5)

    assert row.verdicts == [Verdict(Ending.CANCELED)]
    assert [report.number for report in link.reports if report.task_id == row.task.id] == [1]
    assert neighbour.verdicts == [Verdict(Ending.COMPLETED, output="1")]
    assert deaths.count == 1


async def test_a_stop_gives_back_what_is_held_and_may_come_twice() -> None:
    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("forever", slow)

    link = MemoryLink()
    worker = make(link, script)
    run = asyncio.create_task(worker.run())
    rows = [link.submit() for _ in range(3)]
    await link.until(lambda: len(worker.held()) == 3)
    await settle()
    await asyncio.gather(worker.stop(), worker.stop())
    await asyncio.wait_for(run, 5)
    await worker.stop()

    assert [row.verdicts for row in rows] == [[Verdict(Ending.RELEASED)]] * 3
    assert all(row.queued and row.task.attempts == 0 for row in rows)


async def test_a_drain_finishes_what_is_held_and_takes_no_more() -> None:
    go = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        await go.wait()
        return given.n

    link = MemoryLink()
    worker = make(link, script)
    run = asyncio.create_task(worker.run())
    row = link.submit()
    await link.until(lambda: bool(worker.held()))
    drained = asyncio.create_task(worker.drain())
    await link.until(lambda: link.hellos[-1].slots == {})
    late = link.submit()
    await settle()
    assert not drained.done()
    go.set()
    await asyncio.wait_for(drained, 5)
    await run

    assert row.verdicts == [Verdict(Ending.COMPLETED, output="0")]
    assert late.queued
    assert late.verdicts == []


async def test_a_claim_that_comes_while_leaving_is_given_back_unbegun() -> None:
    begun = []
    go = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        begun.append(given.n)
        await go.wait()
        return given.n

    link = MemoryLink()
    worker = make(link, script)
    run = asyncio.create_task(worker.run())
    link.submit('{"n": 1}')
    await link.until(lambda: bool(worker.held()))
    await settle()
    drained = asyncio.create_task(worker.drain())
    await settle()
    late = link.submit('{"n": 2}')
    late.queued = False
    late.task = late.task._replace(worker="w1", fence=1, attempts=1)
    worker.obey(0, Orders(claims=(Claim(late.task),)))
    await link.until(lambda: bool(late.verdicts))
    go.set()
    await drained
    await run

    assert late.verdicts == [Verdict(Ending.RELEASED)]
    assert begun == [1]


async def test_a_drain_is_bounded_where_the_ledger_stays_away() -> None:
    link = MemoryLink()
    worker = make(link, one, flush=0.05, grace=0.05)
    run = asyncio.create_task(worker.run())
    await link.until(lambda: bool(link.calls["pull"]))
    link.fault = lambda method: BEFORE if method == "report" else ""
    link.submit()
    await link.until(lambda: bool(link.calls["report"]) or bool(worker.held()))

    await asyncio.wait_for(worker.drain(), 5)
    await run


async def test_a_drain_from_another_thread_and_before_the_start_returns() -> None:
    link = MemoryLink()
    early = make(link, one)
    await asyncio.wait_for(early.drain(), 5)
    await asyncio.wait_for(early.run(), 5)
    worker = make(link, one)
    run = asyncio.create_task(worker.run())
    await link.until(lambda: bool(link.calls["pull"]))

    await asyncio.to_thread(lambda: asyncio.run(worker.stop()))
    await asyncio.wait_for(run, 5)


async def test_a_worker_that_the_ledger_does_not_know_finishes_and_ends() -> None:
    go = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        await go.wait()
        return given.n

    link = MemoryLink()
    worker = make(link, script)
    run = asyncio.create_task(worker.run())
    row = link.submit()
    await link.until(lambda: bool(worker.held()))
    link.disown()
    await settle()
    pulls = link.calls["pull"]
    await asyncio.sleep(0.02)
    assert link.calls["pull"] == pulls  # it does not go on asking
    go.set()
    await asyncio.wait_for(run, 5)

    assert row.verdicts == [Verdict(Ending.COMPLETED, output="0")]


async def test_a_cancelled_worker_leaves_no_run_behind() -> None:
    ended = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        try:
            return await ctx.step("forever", slow)
        finally:
            ended.set()

    link = MemoryLink()
    worker = make(link, script)
    run = asyncio.create_task(worker.run())
    link.submit()
    await link.until(lambda: bool(worker.held()))
    await settle()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert ended.is_set()
    await asyncio.wait_for(worker.stop(), 5)


def test_a_loop_that_is_stuck_past_a_timeout_kills_the_process() -> None:
    died = threading.Event()

    async def script(ctx: Context, given: Given) -> int:
        while not died.is_set():
            time.sleep(0.001)  # noqa: ASYNC251 - the agent's mistake
        return 0

    async def main() -> None:
        link = MemoryLink()
        link.submit(timeout=0.05)
        worker = make(link, script, die=died.set, beat=0.02, grace=0.05, clock=time.monotonic)
        run = asyncio.create_task(worker.run())
        await asyncio.sleep(0.01)
        run.cancel()
        await asyncio.wait([run])

    asyncio.run(asyncio.wait_for(main(), 10))
    assert died.is_set()


def test_a_loop_that_was_ended_from_inside_kills_the_process() -> None:
    died = threading.Event()

    async def exits() -> None:
        raise SystemExit(3)

    async def script(ctx: Context, given: Given) -> int:
        await asyncio.gather(exits())
        return 0

    async def main() -> None:
        link = MemoryLink()
        link.submit()
        await make(link, script, die=died.set, beat=0.02, clock=time.monotonic).run()

    loop = asyncio.new_event_loop()
    running = loop.create_task(main())
    with pytest.raises(SystemExit):
        loop.run_until_complete(running)

    assert died.wait(5)
    for left in asyncio.all_tasks(loop):
        left.cancel()
    loop.run_until_complete(asyncio.wait([running]))
    loop.close()
