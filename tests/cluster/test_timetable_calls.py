"""What becomes of a time that meets an unended task, and what callers may do to a schedule."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.claims import Ending, Verdict
from cluster.ledger import Ledger
from cluster.store import Writes
from cluster.task import State

from .callers import Caller, ShakyStore, settled
from .making import COMPLETED, ManualClock, hello, report, submission, task
from .scheduled import HOUR, NOON, has, hourly, hurry, passed, running, tasks, times


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON - 10)


@pytest.fixture
async def ledger(store: ShakyStore, clock: ManualClock) -> AsyncIterator[Ledger]:
    """One with schedules."""
    async with running(store, clock) as ledger:
        yield ledger


async def test_a_time_is_skipped_while_the_last_task_runs(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello())
    await ledger.put_schedule(hourly(overlap="skip"), None)
    clock.advance(11)
    await passed(ledger)
    claim = await worker.claim()

    clock.advance(HOUR)
    await passed(ledger)
    assert await times(ledger) == [0]
    await worker.report(report(claim, 1, verdict=COMPLETED))
    clock.advance(HOUR)
    await passed(ledger)

    assert await times(ledger) == [0, 2]


async def test_at_most_one_time_waits_behind_a_task_and_never_runs_beside_it(
    ledger: Ledger, clock: ManualClock
) -> None:
    worker = Caller(ledger, hello())
    await ledger.put_schedule(hourly(overlap="queue_one"), None)
    clock.advance(11)
    await passed(ledger)
    claim = await worker.claim()
    for _ in range(3):
        clock.advance(HOUR)
        await passed(ledger)

    held = await ledger.schedule("", "hourly")
    assert held is not None
    assert (held.held_at, await times(ledger)) == (NOON + HOUR, [0])
    await worker.report(report(claim, 1, verdict=Verdict(Ending.FAILED, error="{}")))
    claim = await worker.claim()

    assert claim.task.run_at == NOON + HOUR
    assert await times(ledger) == [0, 1]
    await worker.report(report(claim, 1, verdict=COMPLETED))
    await asyncio.sleep(0.02)
    assert await times(ledger) == [0, 1]


async def test_what_waits_behind_a_task_outlives_the_ledger(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as ledger:
        await ledger.put_schedule(hourly(overlap="queue_one"), None)
        for seconds in (11, HOUR):
            clock.advance(seconds)
            await passed(ledger)
        (first,) = await tasks(ledger)

    async with running(store, clock) as ledger:
        await asyncio.sleep(0.02)
        assert await times(ledger) == [0]
        await ledger.cancel("", first.id)
        await has([0, 1], ledger)


async def test_what_ended_while_no_ledger_looked_lets_the_next_go(store: ShakyStore, clock: ManualClock) -> None:
    held = hourly(overlap="queue_one", next_at=NOON + HOUR, held_at=NOON)
    await store.commit(Writes(schedules={("", "hourly"): held}))

    async with running(store, clock) as ledger:
        await has([0], ledger)


async def test_a_time_cancels_what_has_not_ended(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    await ledger.put_schedule(hourly(overlap="cancel"), None)
    clock.advance(11)
    await passed(ledger)
    claim = await worker.claim()
    parked = asyncio.create_task(worker.pull())
    await settled()

    clock.advance(HOUR)
    await passed(ledger)
    clock.advance(HOUR)
    await passed(ledger)

    running, second, third = await tasks(ledger)
    assert (running.state, running.cancel_requested_at) == (State.RUNNING, clock.time - HOUR)
    assert (second.state, third.state) == (State.CANCELED, State.QUEUED)
    orders = await asyncio.wait_for(parked, 1)
    assert orders.cancels == ((claim.task.tenant, claim.task.id, claim.task.fence),)


async def test_tasks_run_beside_each_other_where_that_is_allowed(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(overlap="allow"), None)
    for seconds in (11, HOUR, HOUR):
        clock.advance(seconds)
        await passed(ledger)

    assert await times(ledger) == [0, 1, 2]
    assert len(await Caller(ledger, hello()).claims()) == 3


async def test_a_task_that_comes_in_the_same_tick_counts(ledger: Ledger, store: ShakyStore, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(overlap="skip"), None)
    store.gate.clear()
    holding = asyncio.create_task(ledger.submit(submission(task())))
    await settled()
    by_hand = asyncio.create_task(ledger.submit(submission(task(schedule="hourly"))))
    clock.advance(11)
    await asyncio.sleep(0.02)

    store.gate.set()
    await asyncio.gather(holding, by_hand)
    await passed(ledger)

    assert sorted(found.schedule or "" for found in await tasks(ledger)) == ["", "hourly"]


# what callers do


async def test_a_paused_schedule_keeps_its_place(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(catch_up="one"), None)
    paused = await ledger.pause_schedule("", "hourly", True)
    clock.advance(10 + 2.5 * HOUR)
    await asyncio.sleep(0.02)

    assert await tasks(ledger) == []
    assert paused is not None
    assert paused.paused
    resumed = await ledger.pause_schedule("", "hourly", False)
    assert resumed == paused._replace(paused=0)
    await passed(ledger)
    assert await times(ledger) == [2]


async def test_a_pause_waits_for_its_commit(ledger: Ledger, store: ShakyStore) -> None:
    await ledger.put_schedule(hourly(), None)
    store.gate.clear()

    pausing = asyncio.create_task(ledger.pause_schedule("", "hourly", True))
    await settled()

    assert not pausing.done()
    store.gate.set()
    assert await pausing == await ledger.schedule("", "hourly")


async def test_a_put_replaces_and_a_delete_removes(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(), None)
    kept, new = await ledger.put_schedule(hourly(cron="30 * * * *"), True)

    assert (kept.next_at, kept.paused, new) == (NOON + HOUR / 2, 1, False)
    assert await ledger.schedule("", "hourly") == kept
    assert await ledger.delete_schedule("", "hourly")
    assert not await ledger.delete_schedule("", "hourly")
    assert await ledger.schedule("", "hourly") is None
    assert await ledger.pause_schedule("", "hourly", True) is None
    clock.advance(2 * HOUR)
    await asyncio.sleep(0.02)
    assert await tasks(ledger) == []


async def test_times_that_are_put_off_come(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(), None)
    await ledger.put_schedule(hourly(cron="30 * * * *"), None)
    clock.advance(11)
    await asyncio.sleep(0.02)
    assert await tasks(ledger) == []

    clock.advance(HOUR / 2)
    await passed(ledger)

    assert await times(ledger) == [0.5]


async def test_two_puts_in_one_tick_are_one_after_the_other(ledger: Ledger) -> None:
    answers = await asyncio.gather(
        ledger.put_schedule(hourly(), None), ledger.put_schedule(hourly(input="2"), True), ledger.schedule("", "x")
    )

    (first, was_new), (second, is_new), _ = answers
    assert (was_new, is_new) == (True, False)
    assert await ledger.schedule("", "hourly") == second == first._replace(input="2", paused=1)


async def test_a_tenant_sees_its_own_schedules_by_name_and_page(ledger: Ledger) -> None:
    for tenant, name in itertools.product(("", "t"), "cab"):
        await ledger.put_schedule(hourly(tenant=tenant, name=name), None)

    assert [found.name for found in await ledger.schedules("", "", 2)] == ["a", "b"]
    assert [found.name for found in await ledger.schedules("", "b", 2)] == ["c"]
    assert {found.tenant for found in await ledger.schedules("t", "", 9)} == {"t"}
    assert await ledger.schedule("other", "a") is None
    assert not await ledger.delete_schedule("other", "a")


async def test_a_schedule_of_an_agent_that_nobody_serves_goes_on(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(agent="retired"), None)
    clock.advance(11)
    await passed(ledger)

    (waiting,) = await tasks(ledger)
    why = await ledger.why("", waiting.id)
    assert (waiting.version, waiting.timeout, waiting.max_attempts) == ("v1", 5.0, 1)
    assert why is not None
    assert why.reason == "no_worker"


async def test_nothing_is_read_or_written_while_nothing_is_due(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.put_schedule(hourly(), None)
    reads = 0

    async def counted(*args: Any) -> None:
        nonlocal reads
        reads += 1

    for name in ("schedule", "schedules", "of_schedule"):
        monkeypatch.setattr(store, name, counted)
    commits = store.commits
    for _ in range(20):
        await ledger.submit(submission(task()))
        await asyncio.sleep(0.002)

    assert reads == 0
    assert store.commits == commits + 20
