"""Schedules over a running ledger: each time gets its task once, whoever dies, and whatever its clock does."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

import pytest

from cluster.ledger import Ledger
from cluster.schedule import task_of
from cluster.store import Writes
from cluster.task import State

from .callers import Caller, ShakyStore, opened
from .making import ManualClock, hello, submission, task
from .scheduled import HOUR, MINUTE, NOON, hourly, hurry, passed, running, tasks, times


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


async def test_a_time_gets_a_task_as_it_comes(ledger: Ledger, clock: ManualClock) -> None:
    kept, new = await ledger.put_schedule(hourly(input='{"text":"tick"}'), None)
    await asyncio.sleep(0.02)
    assert (kept.next_at, new) == (NOON, True)
    assert await tasks(ledger) == []

    clock.advance(10.1)
    await passed(ledger)

    (created,) = await tasks(ledger)
    assert (created.input, created.schedule, created.state) == ('{"text":"tick"}', "hourly", State.QUEUED)
    assert (created.run_at, created.version) == (NOON, "v7")
    assert created.created_at == pytest.approx(NOON + 0.1, abs=1e-3)
    found = await ledger.schedule("", "hourly")
    assert found is not None
    assert (found.last_at, found.next_at) == (NOON, NOON + HOUR)
    assert (await Caller(ledger, hello()).claim()).task.id == created.id


async def test_the_task_and_the_next_time_are_one_commit(ledger: Ledger, store: ShakyStore, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(), None)
    store.gate.clear()
    clock.advance(11)
    await asyncio.sleep(0.02)

    assert await tasks(ledger) == []
    found = await store.schedule("", "hourly")
    assert found is not None
    assert found.next_at == NOON
    commits = store.commits
    store.gate.set()
    await passed(ledger)
    assert await times(ledger) == [0]
    assert store.commits == commits + 1


@pytest.mark.parametrize("after_commit", [False, True])
async def test_a_ledger_that_dies_at_the_commit_loses_no_time_and_doubles_none(
    store: ShakyStore, clock: ManualClock, *, after_commit: bool
) -> None:
    async with running(store, clock) as ledger:
        await ledger.put_schedule(hourly(), None)
        store.gate.clear()
        clock.advance(11)
        await asyncio.sleep(0.02)
        if after_commit:
            store.gate.set()
            await passed(ledger)
    store.gate.set()

    async with running(store, clock) as ledger:
        await passed(ledger)
        assert await times(ledger) == [0]
        clock.advance(HOUR)
        await passed(ledger)
        found = await ledger.schedule("", "hourly")
        assert found is not None
        assert found.next_at == NOON + 2 * HOUR


async def test_a_time_that_has_its_task_already_makes_no_other(
    ledger: Ledger, store: ShakyStore, clock: ManualClock
) -> None:
    known = task_of(hourly(), NOON, None, NOON)._replace(state=State.COMPLETED, output="1", ended_at=NOON)
    await store.commit(Writes(new={known.ref: known}))
    await ledger.put_schedule(hourly(), None)

    clock.advance(11)
    await passed(ledger)

    assert await tasks(ledger) == [known]


async def test_a_store_that_fails_is_tried_again_until_the_time_has_its_task(
    ledger: Ledger, store: ShakyStore, clock: ManualClock
) -> None:
    await ledger.put_schedule(hourly(), None)
    store.down = True
    clock.advance(11)
    await asyncio.sleep(0.05)
    assert await tasks(ledger) == []

    store.down = False
    clock.advance(2)
    await passed(ledger)

    assert await times(ledger) == [0]


async def test_one_schedule_that_cannot_be_stored_holds_up_no_other(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(name="bad", input='"poison"'), None)
    await ledger.put_schedule(hourly(name="good"), None)

    clock.advance(11)
    await passed(ledger, "good")

    assert [found.schedule for found in await tasks(ledger)] == ["good"]
    await ledger.put_schedule(hourly(name="bad", input='"mended"'), None)
    await passed(ledger, "bad")
    assert [found.schedule for found in await tasks(ledger)] == ["bad", "good"]


async def test_a_schedule_whose_times_cannot_be_told_holds_up_nothing(
    ledger: Ledger, store: ShakyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = hourly(name="broken", zone="Gone/Away", next_at=NOON)
    async with running(store, clock) as again:
        await ledger._ticks.move(lambda book, _: book.writes.schedules.update({("", "broken"): broken}))
        await again.put_schedule(hourly(name="good"), None)
        clock.advance(11)
        await passed(again, "good")
        await asyncio.sleep(0.02)

        assert await again.submit(submission(task()))

    assert "the times of schedule broken cannot be told" in caplog.text


# clocks


async def test_a_clock_that_is_set_forward_is_noticed(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(cron="0 0 1 1 *"), None)

    clock.advance(366 * 86400)
    await passed(ledger)

    assert len(await tasks(ledger)) == 1


async def test_a_clock_that_is_set_back_fires_nothing_twice(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(overlap="allow"), None)
    clock.advance(11)
    await passed(ledger)

    clock.advance(-1800)
    await asyncio.sleep(0.02)
    clock.advance(1800)
    await asyncio.sleep(0.02)
    clock.advance(HOUR)
    await passed(ledger)

    assert await times(ledger) == [0, 1]


async def test_what_was_missed_is_caught_up_with_after_a_restart(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as ledger:
        for catch_up in ("none", "one", "all"):
            await ledger.put_schedule(hourly(tenant=catch_up, catch_up=catch_up, overlap="allow"), None)
    clock.advance(10 + 2.5 * HOUR)

    async with running(store, clock) as ledger:
        for catch_up, expected in {"none": [], "one": [2], "all": [0, 1, 2]}.items():
            await passed(ledger, tenant=catch_up)
            assert [(found.run_at - NOON) / HOUR for found in await tasks(ledger, catch_up)] == expected


async def test_thousands_of_missed_times_are_taken_up_in_several_ticks(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.put_schedule(hourly(cron="* * * * *", catch_up="all", overlap="allow"), None)
    ticks = ledger.ticks

    clock.advance(10 + 999 * MINUTE)
    await passed(ledger)

    created = await tasks(ledger)
    assert [found.run_at for found in created] == [NOON + MINUTE * number for number in range(1000)]
    assert ledger.ticks - ticks == 5
    assert await ledger.counts() == ({"echo": {"queued": 1000}}, ledger.ticks)


async def test_many_schedules_are_due_at_once(ledger: Ledger, clock: ManualClock) -> None:
    for number in range(50):
        await ledger.put_schedule(hourly(name=f"s{number:02}"), None)

    clock.advance(11)
    for number in range(50):
        await passed(ledger, f"s{number:02}")

    assert len({found.schedule for found in await tasks(ledger)}) == 50


@pytest.mark.slow
async def test_whatever_order_things_come_in_each_time_has_one_task(clock: ManualClock) -> None:
    """Ledgers die and stores fail between any two moves: with `all` and `allow` no time is left out or doubled."""
    for seed in range(20):
        store = await opened()
        start = clock.time
        first = (start // MINUTE + 1) * MINUTE
        failing = itertools.cycle([seed % 3 == 0, False, seed % 2 == 0])
        async with running(store, clock) as ledger:
            await ledger.put_schedule(hourly(cron="* * * * *", overlap="allow", catch_up="all"), None)
        for life in range(5):
            store.down = next(failing)
            async with running(store, clock) as ledger:
                for move in range(3):
                    clock.advance(20 + 13 * ((seed + life + move) % 7))
                    await asyncio.sleep(0.001 * ((seed + move) % 3))
            store.down = False
        async with running(store, clock) as ledger:
            await passed(ledger)
            found = [each.run_at for each in await tasks(ledger)]

        assert found == [first + MINUTE * number for number in range(len(found))], json.dumps({"seed": seed})
        assert found[-1] + MINUTE > clock.time
