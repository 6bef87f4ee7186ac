"""Whether a task may go, what a pass steps over, and how little of the time a sweeper takes."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from agents.ids import derived_id, derived_id_at, first_id, new_id
from cluster import sweeper
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.retention import HOUR, Retention, beyond, may_go, pause_between
from cluster.task import TOLD, UNHEARD, State, Task
from cluster.terms import Terms

from .callers import opened
from .keeping_contract import ended
from .making import ManualClock, task
from .rows import new

BEFORE = 100.0
OLD, YOUNG = ended(99.0), ended(100.0)


@pytest.mark.parametrize(
    ("one", "parent", "may"),
    [
        (OLD, None, True),
        (YOUNG, None, False),
        (task(), None, False),
        (task(state=State.WAITING), None, False),
        (OLD._replace(state=State.QUEUED.value), None, False),  # taken up again, whatever else it says
        (OLD._replace(parent_id="p", told=TOLD), None, True),
        (OLD._replace(parent_id="p", told=UNHEARD), None, True),
        (OLD._replace(parent_id="p"), None, False),
        (OLD._replace(parent_id="p", told=TOLD), OLD, True),
        (OLD._replace(parent_id="p", told=UNHEARD), OLD, True),
        (OLD._replace(parent_id="p", told=TOLD), YOUNG, False),
        (OLD._replace(parent_id="p", told=UNHEARD), YOUNG, False),
        (OLD._replace(parent_id="p", told=TOLD), task(), False),
        (OLD._replace(parent_id="p"), OLD, False),
    ],
)
def test_a_task_may_go_once_it_and_its_parent_are_over(one: Task, parent: Task | None, may: bool) -> None:
    assert may_go(one, parent, BEFORE) == may


def test_what_was_made_since_is_stepped_over_and_nothing_else() -> None:
    now = time.time()
    old, young, ahead = (("t", derived_id_at(now + by, "x")) for by in (-100, -10, +100))
    keyed = ("t", derived_id("keyed"))

    assert beyond(old, now - 50, now) == old
    assert beyond(ahead, now - 50, now) == ahead
    assert beyond(keyed, now - 50, now) == keyed
    stepped = beyond(young, now - 50, now)
    assert young < stepped < ahead < keyed


def test_a_first_id_lies_between_what_was_made_before_and_after() -> None:
    now = 1_700_000_000.25
    made = [derived_id_at(now + by, str(seed)) for by in (-0.001, 0.0) for seed in range(50)]

    assert sorted([*made, first_id(now)]).index(first_id(now)) == 50
    assert new_id() > first_id(now)


@pytest.mark.parametrize(("age", "pause"), [(30 * 24 * HOUR, HOUR), (24 * HOUR, HOUR), (HOUR, HOUR / 24), (2.4, 0.1)])
def test_there_are_many_passes_in_the_time_that_things_are_kept(age: float, pause: float) -> None:
    assert pause_between(age) == pytest.approx(pause)


async def test_a_sweeper_rests_many_times_as_long_as_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    ticking = itertools.count(step=0.5)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("cluster.sweeper.asyncio.sleep", sleep)
    monkeypatch.setattr("cluster.sweeper.time.perf_counter", lambda: next(ticking))
    async with sweeper._rested():
        pass

    assert slept == [0.5 * sweeper.REST]
    assert 1 / (1 + sweeper.REST) <= 0.04


async def test_a_pass_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweeper, "PAUSE", 0.0)
    monkeypatch.setattr(sweeper, "START", 0.0)
    done = asyncio.Event()
    outcomes: Any = iter([Unavailable("away"), OSError("no such bucket"), None])

    async def sweep() -> int:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        done.set()
        await asyncio.sleep(60)
        return 0

    again = asyncio.create_task(sweeper._again_and_again(sweep, 0.001))
    await asyncio.wait_for(done.wait(), 5)
    again.cancel()

    assert "no such bucket" in caplog.text


async def test_a_tick_deletes_few_tasks_where_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = ManualClock(), await opened()
    monkeypatch.setattr(sweeper, "REST", 0.0)
    large = [ended(clock.time, events=int(sweeper.BRIEF / sweeper.EVENT_SECONDS / 2)) for _ in range(20)]
    await store.commit(new(*large))
    ledger = Ledger(store, clock.clock, terms=Terms(retention=Retention(ended=HOUR)))
    running = asyncio.create_task(ledger.run())
    clock.advance(2 * HOUR)

    assert await ledger._sweeper.tasks() == 20

    running.cancel()
    await asyncio.wait([running])
    assert ledger.ticks == 10
