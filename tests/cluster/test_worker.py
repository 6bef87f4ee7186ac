"""What a worker promises to the ledger, and to the runs beside each other on it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from agents import Artifact, Context, Progress
from cluster.claims import LEASE, MARGIN, Claim, Ending, Orders, Verdict

from .links import AFTER, BEFORE, MemoryLink
from .making import ManualClock, task
from .workers import Deaths, Given, beat, make, one, settle, working


def add(a: int, b: int) -> int:
    return a + b


async def slow() -> int:
    await asyncio.sleep(3600)
    return 0


async def test_a_task_is_run_and_its_output_reported() -> None:
    link = MemoryLink()
    async with working(link, one) as worker:
        row = link.submit('{"n": 1}')
        await link.ended(row)
        await settle()

        assert row.verdicts == [Verdict(Ending.COMPLETED, output="2")]
        assert worker.held() == ()


async def test_the_steps_of_a_run_are_recorded_in_order_with_its_events() -> None:
    async def script(ctx: Context, given: Given) -> int:
        await ctx.emit(Progress(message="begun"))
        value = await ctx.step("add", add, given.n, 1)
        await ctx.emit(Progress(message="added"))
        return await ctx.step("add", add, value, 1)

    link = MemoryLink()
    async with working(link, script):
        row = link.submit('{"n": 1}')
        await link.ended(row)

    said = ["begun", "add#0", "added", "add#1"]
    assert [part for part, text in zip(said, row.said, strict=True) if part in text] == said
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="3")]


async def test_a_recorded_step_does_not_run_again() -> None:
    ran = []

    def first(n: int) -> int:
        ran.append("first")
        return n + 40

    async def script(ctx: Context, given: Given) -> int:
        value = await ctx.step("first", first, given.n)
        if ctx.attempt == 1:
            raise ValueError("once")
        return await ctx.step("second", add, value, 1)

    link = MemoryLink()
    async with working(link, script):
        row = link.submit('{"n": 1}')
        await link.ended(row)

    assert ran == ["first"]
    assert row.steps == ["first#0", "second#0"]
    assert row.verdicts[-1] == Verdict(Ending.COMPLETED, output="42")


async def test_exactly_one_pull_is_outstanding() -> None:
    link = MemoryLink()
    async with working(link, one):
        await link.ended(*[link.submit() for _ in range(20)])
        await settle()

        assert link.outstanding == 1


async def test_reports_of_many_runs_share_one_call() -> None:
    together = asyncio.Event()

    async def quick(n: int) -> int:
        return n

    async def steps(ctx: Context, given: Given) -> int:
        await together.wait()
        return await ctx.step("quick", quick, given.n)

    link = MemoryLink()
    async with working(link, steps, slots=50) as worker:
        rows = [link.submit() for _ in range(50)]
        await link.until(lambda: len(worker.held()) == 50)
        together.set()
        await link.ended(*rows)

    assert link.calls["report"] <= 4  # all steps, all verdicts, and a straggler of each


async def test_what_quick_runs_reach_is_on_its_way_before_the_next_pull() -> None:
    called: list[str] = []

    def note(method: str) -> str:
        called.append(method)
        return ""

    link = MemoryLink()
    link.fault = note
    async with working(link, one):
        await link.ended(*[link.submit() for _ in range(3)])
        await settle()
        before = list(called)

    assert before == ["pull", "report", "pull"]


async def test_a_report_whose_answer_is_lost_is_sent_again_and_applied_once() -> None:
    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("add", add, given.n, 1)

    link = MemoryLink()
    faults = iter([AFTER, BEFORE, AFTER, ""])
    link.fault = lambda method: next(faults, "") if method == "report" else ""
    async with working(link, script):
        row = link.submit()
        await link.ended(row)
        await settle()

    first, *again = [report for report in link.reports if report.number == 1]
    assert again == [first, first]
    assert row.steps == ["add#0"]
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_a_pull_that_fails_is_made_again() -> None:
    link = MemoryLink()
    faults = iter([BEFORE, BEFORE, ""])
    link.fault = lambda method: next(faults, "") if method == "pull" else ""
    row = link.submit()
    async with working(link, one):
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_claims_whose_answer_was_lost_go_back_with_the_next_heartbeat() -> None:
    link = MemoryLink()
    faults = iter([AFTER, ""])
    link.fault = lambda method: next(faults, "") if method == "pull" else ""
    row = link.submit()
    async with working(link, one) as worker:
        await link.until(lambda: link.calls["pull"] == 2)
        await settle()
        assert row.task.worker == "w1"  # the ledger thinks so
        await beat(worker)
        await link.ended(row)

    assert row.task.attempts == 1
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_a_claim_that_is_handed_over_twice_runs_once() -> None:
    begun = []

    async def script(ctx: Context, given: Given) -> int:
        begun.append(ctx.task_id)
        return given.n

    link = MemoryLink()
    async with working(link, script) as worker:
        row = link.submit()
        await link.ended(row)
        await settle()
        worker.obey(0, Orders(claims=(Claim(row.task),)))
        await settle()

        assert begun == [row.task.id]
        assert worker.held() == ()


async def test_the_memory_of_claims_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.worker.SEEN", 100)
    link = MemoryLink()
    async with working(link, one) as worker:
        claims = tuple(Claim(task(agent="nobody's")) for _ in range(110))
        worker.obey(0, Orders(claims))

        assert len(worker._seen) == 100
        for claim in claims:
            worker.lose((claim.task.tenant, claim.task.id, claim.task.fence))


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


async def test_an_artifact_is_kept_for_its_tenant_only(tmp_path: Path) -> None:
    async def script(ctx: Context, given: Given) -> int:
        kept = await ctx.artifact(b"bytes")

        def read() -> int:
            return len(Artifact(sha256=kept.sha256, size=kept.size).read())

        return await ctx.step("read", read)

    link = MemoryLink()
    async with working(link, script, artifacts=str(tmp_path)):
        row = link.submit(tenant="acme")
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.COMPLETED, output="5")]
    assert os.listdir(tmp_path) == ["t-acme"]


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
