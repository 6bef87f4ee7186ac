"""What a heartbeat tells the ledger, and what keeps it beating."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from agents import Context
from cluster.calls import Calls
from cluster.claims import BEAT, LEASE, MARGIN, Beat, Picture
from cluster.lease import Lease

from .links import AFTER, BEFORE, MemoryLink
from .making import ManualClock
from .workers import Given, beat, make, settle, working


def test_a_call_and_what_it_brought_change_together() -> None:
    calls = Calls()
    pull, report = calls.begin(), calls.begin()

    calls.end(pull, {("", "a", 1): 60.0})
    assert calls.look() == Picture(2, (report,), (("", "a", 1),))
    assert calls.ends() == (60.0,)
    calls.end(report)
    calls.drop([("", "a", 1), ("", "unknown", 1)])
    assert calls.look() == Picture(2, (), ())


def test_a_book_counts_as_heard_of_once_all_calls_of_before_have_ended() -> None:
    calls = Calls()
    old = calls.begin()
    calls.hear("a")
    new = calls.begin()

    calls.hear("a")
    assert calls.look().book == ""
    calls.end(old)
    assert calls.look() == Picture(2, (new,), (), "a")
    calls.hear("b")
    assert calls.look().book == ""


@pytest.mark.slow
def test_no_picture_misses_a_claim_whose_call_has_ended() -> None:
    calls = Calls()
    stop = threading.Event()
    missed = []

    def look() -> None:
        while not stop.is_set():
            picture = calls.look()
            answered = picture.latest - len(picture.open)
            if answered != len(picture.held):
                missed.append(picture)

    watcher = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that the threads meet at every line
    try:
        watcher.start()
        for number in range(2000):
            calls.end(calls.begin(), {("", str(number), 1): 0.0})
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        watcher.join()

    assert missed == []


def test_a_lease_holds_less_its_margin_from_its_call_then_from_each_heartbeat() -> None:
    clock = ManualClock()
    lease = Lease(lambda: clock.time, clock.time)
    start = clock.time

    clock.time = start + LEASE - MARGIN - 0.01
    assert lease.holds()
    clock.time = start + LEASE - MARGIN
    assert not lease.holds()
    lease.renew(start + BEAT)
    assert lease.holds()
    lease.renew(start + 1)  # an answer that was overtaken takes nothing away
    assert lease.holds()
    clock.time = start + BEAT + LEASE - MARGIN
    assert not lease.holds()


async def test_whoever_waits_for_a_lease_goes_on_at_its_renewal_and_never_once_it_is_lost() -> None:
    clock = ManualClock()
    lease = Lease(lambda: clock.time, clock.time - LEASE)
    waiting = [asyncio.create_task(lease.held()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    lease.renew(clock.time - LEASE)  # too old to help
    await settle()
    assert not waiting[1].done()
    lease.renew(clock.time)
    await asyncio.wait_for(asyncio.gather(*waiting[1:]), 5)

    lease.lose()
    lease.renew(clock.time)
    lost = asyncio.create_task(lease.held())
    await settle()
    assert not lost.done()
    lost.cancel()


async def test_a_claim_that_arrives_late_has_the_less_of_its_lease() -> None:
    """As in a process that is frozen while the answer of its pull lies there: the ledger has given the task away."""
    clock, go = ManualClock(), asyncio.Event()
    ran: list[int] = []

    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("work", work, given.n)

    async def work(n: int) -> int:
        ran.append(n)
        return n

    link = MemoryLink()
    async with working(link, script, clock=lambda: clock.time) as worker:
        link.lag = go.wait
        row = link.submit()
        await settle()
        clock.advance(LEASE)
        go.set()
        await link.until(lambda: bool(worker.held()))
        await settle()
        assert ran == [], "others may run it by now"

        await beat(worker)
        await link.ended(row)

    assert ran == [0]


async def test_a_claim_of_which_the_ledger_is_unsure_is_kept_and_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, go = ManualClock(), asyncio.Event()
    ran: list[int] = []

    async def script(ctx: Context, given: Given) -> int:
        await go.wait()
        return await ctx.step("work", work, given.n)

    async def work(n: int) -> int:
        ran.append(n)
        return n

    link = MemoryLink()
    async with working(link, script, clock=lambda: clock.time) as worker:
        row = link.submit()
        await link.until(lambda: bool(worker.held()))
        clock.advance(LEASE)
        with monkeypatch.context() as patched:
            patched.setattr(link, "beat", lambda worker, seen: Beat((), unsure=seen.held))
            await beat(worker)
        go.set()
        await settle()
        assert (ran, len(worker.held())) == ([], 1)

        await beat(worker)
        await link.ended(row)

    assert ran == [0]


async def test_the_thread_beats_while_the_loop_is_busy() -> None:
    busy = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        busy.set()
        time.sleep(0.1)  # noqa: ASYNC251 - the agent's mistake
        return 1

    link = MemoryLink()
    async with working(link, script, beat=0.005, clock=time.monotonic):
        row = link.submit()
        await busy.wait()
        await link.ended(row)

    assert link.calls["beat"] > 5


async def test_a_heartbeat_survives_whatever_its_call_raises() -> None:
    class Broken(MemoryLink):
        def beat(self, *args: object) -> Beat:
            self.calls["beat"] += 1
            raise ValueError("broken")

    link = Broken()
    async with working(link, one_and_wait, beat=0.002, clock=time.monotonic):
        await link.until(lambda: link.calls["beat"] > 3)


async def test_beats_fail_and_the_claims_stay() -> None:
    link = MemoryLink()
    faults = iter([BEFORE, AFTER, BEFORE, AFTER])
    link.fault = lambda method: next(faults, "") if method == "beat" else ""
    row = link.submit()
    async with working(link, one_and_wait, beat=0.002, clock=time.monotonic) as worker:
        await link.until(lambda: link.calls["beat"] > 8)

        assert worker.held() == (row.held,)
        assert row.verdicts == []


async def test_a_slow_ledger_does_not_make_a_loop_look_stuck() -> None:
    died = threading.Event()
    link = MemoryLink()
    gate = asyncio.Event()

    def fault(method: str) -> str:
        if method == "beat":
            time.sleep(0.1)  # longer than timeout and grace together
        return BEFORE if method == "report" and not gate.is_set() else ""

    link.fault = fault
    row = link.submit(timeout=0.02, max_attempts=1)
    async with working(link, one_and_wait, die=died.set, beat=0.01, grace=0.02, clock=time.monotonic):
        await link.until(lambda: link.calls["beat"] > 4)  # the verdict cannot be told meanwhile
        gate.set()
        await link.ended(row)

    assert not died.is_set()


async def test_a_loop_that_is_busy_past_the_end_of_a_run_long_over_is_not_stuck() -> None:
    died = threading.Event()
    busy = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        if given.n == 0:
            await asyncio.sleep(3600)
        await busy.wait()
        time.sleep(0.2)  # noqa: ASYNC251 - the agent's mistake, yet within its timeout
        return 1

    link = MemoryLink()
    link.fault = lambda method: BEFORE if method == "report" else ""  # so the first run's verdict cannot be told
    over, going_on = link.submit(timeout=0.02, max_attempts=1), link.submit('{"n": 1}')
    async with working(link, script, die=died.set, beat=0.02, grace=0.02, clock=time.monotonic):
        await link.until(lambda: bool(link.calls["report"]))
        beats = link.calls["beat"]
        await link.until(lambda: link.calls["beat"] > beats + 3)
        link.fault = lambda method: ""
        busy.set()
        await link.ended(over, going_on)

    assert not died.is_set()


async def test_a_stopped_worker_beats_no_more() -> None:
    link = MemoryLink()
    worker = make(link, one_and_wait, beat=0.002)
    run = asyncio.create_task(worker.run())
    await link.until(lambda: link.calls["beat"] > 2)
    await worker.stop()
    await run
    await asyncio.sleep(0.01)
    beats = link.calls["beat"]
    await asyncio.sleep(0.02)

    assert link.calls["beat"] == beats


async def one_and_wait(ctx: Context, given: Given) -> int:
    await asyncio.sleep(3600)
    return 1
