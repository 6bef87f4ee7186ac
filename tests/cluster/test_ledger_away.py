"""What the ledger does while its store cannot be reached, as one on a server may not be."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from cluster.claims import Beat, Picture
from cluster.errors import Fenced, Unavailable
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.memory import MemoryStore
from cluster.store import StoreFailed, Writes
from cluster.task import Filter

from .callers import Caller, held_of, opened, running
from .making import COMPLETED, ManualClock, hello, report, submission, task


class FarStore(MemoryStore):
    """A store that may be away, lose the answer to a commit, or find out by a read that it is another's."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.loses_answer = False
        self.fenced = False
        self.tries = 0

    async def commit(self, writes: Writes) -> None:
        self._reach()
        await super().commit(writes)
        if self.loses_answer:
            self.loses_answer = False
            raise Unavailable("no answer in time")

    async def counts(self) -> list[tuple[str, str, int]]:
        self._reach()
        return await super().counts()

    def _reach(self) -> None:
        if self.fenced:
            raise Fenced("another has it")
        if self.away:
            self.tries += 1
            raise Unavailable("the store does not answer")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.ticks.READ_PAUSE", 0.005)


@pytest.fixture
async def store() -> FarStore:
    store = FarStore()
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    return store


async def test_callers_are_refused_at_once_for_as_long_as_it_is_away(ledger: Ledger, store: FarStore) -> None:
    await ledger.submit(submission())
    store.away = True

    async with asyncio.timeout(2):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await ledger.submit(submission())
        with pytest.raises(Unavailable):
            await asyncio.gather(*(ledger.submit(submission()) for _ in range(50)))
    assert store.tries > 3

    store.away = False
    async with asyncio.timeout(2):
        await _until_accepted(ledger)
    assert len(await ledger.tasks("", Filter(), None, 10)) == 2


async def test_a_commit_whose_outcome_nobody_knows_is_not_made_again(ledger: Ledger, store: FarStore) -> None:
    one = task()
    await ledger.submit(submission(one))
    store.loses_answer = True

    with pytest.raises(Unavailable):
        await ledger.signal("", one.id, "go", "1")
    await _until_accepted(ledger)

    found = await ledger.task("", one.id)
    assert found is not None
    assert found.signals == 1
    assert [row.number for row in (await store.pasts([one.ref]))[one.ref].signals] == [0]


async def test_workers_keep_what_they_hold_while_it_is_away(ledger: Ledger, store: FarStore) -> None:
    caller = Caller(ledger, hello())
    await ledger.submit(submission())
    claim = await caller.claim()
    store.away = True
    with pytest.raises(Unavailable):
        await ledger.submit(submission())

    lost = await caller.beat(claim)
    store.away = False
    await _until_accepted(ledger)

    assert lost == []
    assert await caller.beat(claim) == []
    assert [holding.held for holding in ledger.book.running.values()] == [held_of(claim)]


async def test_a_result_that_could_not_be_stored_is_not_lost_to_its_worker(ledger: Ledger, store: FarStore) -> None:
    caller = Caller(ledger, hello())
    await ledger.submit(submission(task(), task()))
    claim, other = await caller.claims()
    store.away = True
    with pytest.raises(Unavailable):
        await caller.report(report(claim, 1, verdict=COMPLETED))

    beat = await ledger.beat("w1", Picture(9, (), (held_of(claim), held_of(other))))
    assert beat == Beat((), unsure=(held_of(claim),), book=beat.book)
    store.away = False
    await _until_accepted(ledger)

    assert await caller.beat(claim) == []
    assert await caller.report(report(claim, 1, verdict=COMPLETED)) == []


async def test_a_heartbeat_is_answered_in_time_though_a_commit_is_not(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ledger.TELL_SECONDS", 0.01)
    store = await opened()
    async with running(store, clock) as ledger:
        caller = Caller(ledger, hello())
        await ledger.submit(submission(task(), task()))
        claim, other = await caller.claims()
        store.gate.clear()
        reported = asyncio.create_task(caller.report(report(claim, 1, verdict=COMPLETED)))
        while len(ledger.book.running) == 2:
            await asyncio.sleep(0)

        beat = await ledger.beat("w1", Picture(9, (), (held_of(claim), held_of(other))))
        store.gate.set()

        assert beat == Beat((), unsure=(held_of(claim),), book=beat.book)
        assert await reported == []
        assert await caller.beat(claim, other) == [held_of(claim)]


async def test_what_a_failed_tick_made_of_the_book_is_told_to_nobody(ledger: Ledger, store: FarStore) -> None:
    store.away = True
    with pytest.raises(Unavailable):
        await ledger.set_rule(Rule("", "k", concurrency=1))

    asked = (
        ledger.limit("", "k"),
        ledger.limits("", "", 9),
        ledger.counts(),
        ledger.holders(),
        ledger.tasks("", Filter(state="running"), None, 9),
    )
    for each in asked:
        with pytest.raises(Unavailable):
            await each
    store.away = False
    await _until_accepted(ledger)
    assert await ledger.limits("", "", 9) == []


async def test_a_ledger_that_starts_while_it_is_away_begins_when_it_is_back(store: FarStore) -> None:
    store.away = True
    async with running(store, ManualClock()) as ledger:
        with pytest.raises(Unavailable):
            await ledger.submit(submission())
        store.away = False

        async with asyncio.timeout(2):
            await _until_accepted(ledger)


async def test_a_ledger_that_reads_that_it_is_fenced_stays_down(ledger: Ledger, store: FarStore) -> None:
    await ledger.submit(submission())
    store.away = True
    with pytest.raises(Unavailable):
        await ledger.submit(submission())
    store.fenced = True

    async with asyncio.timeout(2):
        while True:
            with pytest.raises(Unavailable) as refused:
                await ledger.submit(submission())
            if "fenced" in str(refused.value):
                break


async def test_a_ledger_that_is_fenced_when_it_starts_refuses_all(store: FarStore) -> None:
    store.fenced = True
    async with running(store, ManualClock()) as ledger, asyncio.timeout(2):
        with pytest.raises(Unavailable, match="fenced"):
            await ledger.submit(submission())


async def _until_accepted(ledger: Ledger) -> None:
    while True:
        try:
            await ledger.submit(submission())
        except Unavailable:
            await asyncio.sleep(0.001)
        else:
            return


async def test_a_ledger_that_starts_says_nothing_by_a_book_that_it_has_not_read(store: FarStore) -> None:
    async with running(store, ManualClock()) as first:
        await first.submit(submission())
        worker = Caller(first, hello())
        claim = await worker.claim()

    store.away = True
    async with running(store, ManualClock()) as second:
        worker.ledger = second
        await asyncio.sleep(0.01)
        asked = (
            worker.beat(claim),
            second.counts(),
            second.holders(),
            second.tasks("", Filter(state="running"), None, 9),
        )
        for each in asked:
            with pytest.raises(Unavailable):
                await each
        store.away = False

        async with asyncio.timeout(2):
            while not store_is_read(second):
                await asyncio.sleep(0.005)
        assert await worker.beat(claim) == []
        assert await second.holders() == {"w1": 1}


def store_is_read(ledger: Ledger) -> bool:
    return bool(ledger.book.running)


@pytest.mark.parametrize("error", [StoreFailed("statement timeout"), sqlite3.OperationalError("disk I/O error")])
async def test_who_asks_for_what_cannot_be_read_may_ask_again(
    ledger: Ledger, store: FarStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await ledger.submit(submission(one := task()))

    async def broken(*_: object) -> object:
        raise error

    for read in ("task", "tasks", "events", "steps", "oldest", "batch", "in_batch", "schedule", "schedules"):
        monkeypatch.setattr(store, read, broken)
    asked = (
        ledger.task("", one.id),
        ledger.submit_and_wait(submission(), 0),
        ledger.tasks("", Filter(), None, 9),
        ledger.events("", one.id, -1, 0),
        ledger.steps("", one.id),
        ledger.oldest(),
        ledger.why("", one.id),
        ledger.batch("", "b"),
        ledger.in_batch("", "b", "", 9),
        ledger.schedule("", "s"),
        ledger.schedules("", "", 9),
        ledger.cancel("", one.id),
        ledger.cancel_all("", Filter()),
    )
    for each in asked:
        with pytest.raises(Unavailable):
            await each
    monkeypatch.undo()

    assert await ledger.task("", one.id) == one
