"""What a ledger measures of itself, and what that may cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agents.errors import Overloaded
from cluster import measuring, waits
from cluster.claims import LEASE, Ending, Verdict
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.memory import MemoryStore
from cluster.store import StoreFailed, Writes
from cluster.task import Submitted

from .callers import pass_by
from .making import AGENT, COMPLETED, ManualClock, hello, report, submission, task


class Watched(MemoryStore):
    """Counts how often it was asked for the age of its backlog, and can be told to answer late, or to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.fault: Exception | None = None

    async def oldest(self, now: float) -> dict[str, float]:
        self.looks += 1
        await self.answers.wait()
        if self.fault:
            raise self.fault
        return await super().oldest(now)

    async def commit(self, writes: Writes) -> None:
        if self.fault:
            raise self.fault
        await super().commit(writes)


@asynccontextmanager
async def running(store: MemoryStore, clock: ManualClock) -> AsyncIterator[Ledger]:
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    ledger = Ledger(store, clock.clock)
    loop = asyncio.create_task(ledger.run())
    await asyncio.sleep(0)  # in which it reads its book
    yield ledger
    loop.cancel()
    await asyncio.wait([loop])


async def test_the_backlogs_age_grows_while_the_store_is_looked_at_every_ten_seconds(clock: ManualClock) -> None:
    store = Watched()
    async with running(store, clock) as ledger:
        await ledger.submit(submission(task(created_at=clock.time)))
        ages = []
        for _ in range(25):
            clock.advance(1)
            ages.append((await ledger.measures()).queued_for[AGENT])

    assert ages == [float(second) for second in range(1, 26)]
    assert store.looks == 3


async def test_an_agent_with_nothing_queued_has_no_age_whatever_the_last_look_saw(clock: ManualClock) -> None:
    async with running(MemoryStore(), clock) as ledger:
        await ledger.submit(submission(task(created_at=clock.time)))
        clock.advance(5)
        assert (await ledger.measures()).queued_for == {AGENT: 5.0}

        await ledger.pull(hello(), 1)

        assert (await ledger.measures()).queued_for == {}


async def test_a_slow_store_holds_nobody_up_and_is_asked_once(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PATIENCE", 0.01)
    store = Watched()
    store.answers.clear()
    async with running(store, clock) as ledger:
        await ledger.submit(submission(task(created_at=clock.time)))
        clock.advance(60)

        first, second = await asyncio.gather(ledger.measures(), ledger.measures())
        store.answers.set()
        third = await ledger.measures()

    assert first.queued_for == second.queued_for == {}
    assert third.queued_for == {AGENT: 60.0}
    assert store.looks == 1


async def test_a_store_that_fails_leaves_the_rest_to_be_told(clock: ManualClock) -> None:
    store = Watched()
    async with running(store, clock) as ledger:
        await ledger.submit(submission(task()))
        store.fault = StoreFailed("no disk left")
        with pytest.raises(Unavailable):
            await ledger.submit(submission(task()))

        found = await ledger.measures()

    assert found.tasks == {AGENT: {"queued": 1}}
    assert found.figures.failed_ticks == 1
    assert found.queued_for == {}


async def test_each_move_is_counted_once(clock: ManualClock) -> None:
    async with running(MemoryStore(), clock) as ledger:
        await ledger.submit(submission(*(task(created_at=clock.time) for _ in range(2))))
        clock.advance(2)
        done, failed = (await ledger.pull(hello(), 1)).claims
        clock.advance(40)
        error = Verdict(Ending.FAILED, error="{}")
        await ledger.report(hello(), 2, (report(done, 1, verdict=COMPLETED), report(failed, 1, verdict=error)))

        figures = (await ledger.measures()).figures

    assert figures.accepted == figures.claims == figures.attempts == {AGENT: 2}
    assert figures.ended == {(AGENT, "completed"): 1, (AGENT, "failed"): 1}
    assert (sum(figures.waited[AGENT].counts), figures.waited[AGENT].sum) == (2, 4.0)
    assert (sum(figures.took[AGENT].counts), figures.took[AGENT].sum) == (2, 80.0)


async def test_a_claim_that_goes_on_after_a_wait_is_no_attempt(clock: ManualClock) -> None:
    async with running(MemoryStore(), clock) as ledger:
        one = task()
        await ledger.submit(submission(one))
        (claim,) = (await ledger.pull(hello(), 1)).claims
        verdict = Verdict(Ending.WAITING, waiting_on=waits.write(waits.Waits(signals=("go",))), ran=1.0)
        await ledger.report(hello(), 2, (report(claim, 1, verdict=verdict),))
        await ledger.signal("", one.id, "go", "1")
        await ledger.pull(hello(), 3)

        figures = (await ledger.measures()).figures

    assert (figures.claims, figures.attempts) == ({AGENT: 2}, {AGENT: 1})


async def test_a_lost_lease_and_a_refused_submission_are_counted(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(MemoryStore(), clock) as ledger:
        await ledger.submit(submission(task()))
        await ledger.pull(hello(), 1)
        await pass_by(ledger, clock, LEASE + 1)
        monkeypatch.setattr("cluster.ticks.WAITING_LIMIT", 1)
        first, second = await asyncio.gather(*(ledger.submit(submission()) for _ in "12"), return_exceptions=True)
        assert (type(first), type(second)) == (Submitted, Overloaded)

        figures = (await ledger.measures()).figures

    assert (figures.lost_leases, figures.refused) == ({AGENT: 1}, 1)


async def test_limits_are_held_while_they_keep_something_from_starting(clock: ManualClock) -> None:
    async with running(MemoryStore(), clock) as ledger:
        for key in ("a", "b", "c"):
            await ledger.set_rule(Rule("", key, paused_until=clock.time + 60 if key != "c" else None))
            await ledger.submit(submission(task(limit_key=key), task(limit_key=key)))
        await ledger.pull(hello(slots=1), 1)

        while_held = await ledger.measures()
        await ledger.set_rule(Rule("", "a"))
        fewer = await ledger.measures()
        await ledger.pause(AGENT, clock.time + 60)
        whole = await ledger.measures()

    assert [found.held for found in (while_held, fewer, whole)] == [{AGENT: 2}, {AGENT: 1}, {AGENT: 2}]


async def test_it_says_what_its_process_takes(clock: ManualClock) -> None:
    async with running(MemoryStore(), clock) as ledger:
        process = (await ledger.measures()).process

    assert process.resident_bytes > 10_000_000
    assert process.cpu_seconds > 0
    assert process.started_at > 1_600_000_000


async def test_a_fenced_ledger_measures_nothing(clock: ManualClock) -> None:
    store = MemoryStore()
    async with running(store, clock) as ledger:
        store.take()
        with pytest.raises(Unavailable):
            await ledger.submit(submission(task()))

        with pytest.raises(Unavailable, match="fenced"):
            await ledger.measures()
