"""What the ledger promises to callers: what it accepts is durable, and what happens to it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agents.errors import Overloaded
from cluster import steering
from cluster.book import Book
from cluster.errors import Conflict, Expired, Unavailable
from cluster.ledger import Ledger
from cluster.task import Filter, Submission

from .callers import Caller, ShakyStore, settled
from .making import COMPLETED, ManualClock, hello, progress, report, submission, task


async def test_a_submit_is_answered_only_after_its_commit(ledger: Ledger, store: ShakyStore) -> None:
    store.gate.clear()
    one = task()
    answer = asyncio.create_task(ledger.submit(submission(one)))
    await settled()

    assert not answer.done()
    assert await ledger.task("", one.id) is None
    store.gate.set()
    assert (await answer).task_ids == (one.id,)
    assert await ledger.task("", one.id) == one


async def test_what_waits_shares_one_commit(ledger: Ledger, store: ShakyStore) -> None:
    store.gate.clear()
    first = asyncio.create_task(ledger.submit(submission()))
    await settled()
    others = [asyncio.create_task(ledger.submit(submission())) for _ in range(100)]
    await settled()
    store.gate.set()
    await asyncio.gather(first, *others)

    assert store.commits == 2


async def test_a_submit_and_its_claim_share_a_commit_when_a_pull_is_parked(ledger: Ledger, store: ShakyStore) -> None:
    pull = asyncio.create_task(Caller(ledger, hello()).claim())
    await settled()

    await ledger.submit(submission())

    assert (await pull).task.attempts == 1
    assert store.commits == 1


async def test_what_is_past_its_deadline_is_accepted_only_where_it_was_before(
    ledger: Ledger, clock: ManualClock
) -> None:
    one = task(deadline=clock.time + 5)
    await ledger.submit(submission(one, key="k", digest="d"))
    clock.advance(5)

    again = await ledger.submit(submission(one, key="k", digest="d"))
    with pytest.raises(Expired):
        await ledger.submit(submission(task(), task(deadline=clock.time)))

    assert (again.task_ids, again.replayed) == ((one.id,), True)
    assert len(await ledger.tasks("", Filter(), None, 10)) == 1


async def test_a_row_that_fails_fails_alone(ledger: Ledger, store: ShakyStore) -> None:
    store.gate.clear()
    first = asyncio.create_task(ledger.submit(submission()))
    await settled()
    good = [asyncio.create_task(ledger.submit(submission())) for _ in range(3)]
    bad = asyncio.create_task(ledger.submit(submission(task(input='"poison"'))))
    await settled()
    store.gate.set()

    with pytest.raises(Unavailable, match="disk full"):
        await bad
    await asyncio.gather(first, *good)
    assert (await ledger.counts()).tasks == {"echo": {"queued": 4}}


async def test_while_the_store_is_down_nothing_is_accepted_and_afterwards_all_is_well(
    ledger: Ledger, store: ShakyStore
) -> None:
    store.down = True
    with pytest.raises(Unavailable):
        await ledger.submit(submission())
    store.down = False

    await ledger.submit(submission())

    assert len(await Caller(ledger, hello()).claims()) == 1


async def test_a_store_that_takes_nothing_costs_one_reading_however_many_ask(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings, read = [], store.counts

    async def counts() -> list[tuple[str, str, int]]:
        readings.append(1)
        return await read()

    monkeypatch.setattr(store, "counts", counts)
    store.down = True

    refused = await asyncio.gather(*(ledger.submit(submission()) for _ in range(50)), return_exceptions=True)

    assert {type(error) for error in refused} == {Unavailable}
    assert len(readings) == 1


async def test_what_waits_for_its_tick_is_counted_by_its_size_too(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ticks.WAITING_LIMIT", 100)
    one = task()
    await ledger.submit(submission(one))
    large = '"' + "x" * 60 * 1024 + '"'
    store.gate.clear()
    moves: list[Callable[[], Awaitable[object]]] = [
        lambda: ledger.submit(submission(task(input=large))),
        lambda: ledger.signal("", one.id, "go", large),
    ]

    for move in moves:
        let_in = []
        for _ in range(2):  # one goes on to be committed, the other waits, however large it is
            let_in.append(asyncio.ensure_future(move()))
            await settled()
        for each in moves:
            with pytest.raises(Overloaded):
                await each()
        store.gate.set()
        await asyncio.gather(*let_in)
        store.gate.clear()


async def test_an_idempotency_key_creates_once_even_while_the_first_is_in_flight(
    ledger: Ledger, store: ShakyStore
) -> None:
    store.gate.clear()
    twins = [asyncio.create_task(ledger.submit(submission(key="k", digest="d"))) for _ in range(3)]
    await settled()
    store.gate.set()

    answers = await asyncio.gather(*twins)

    assert len({answer.task_ids for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False, True, True]
    assert (await ledger.submit(submission(key="k", digest="d"))).task_ids == answers[0].task_ids
    with pytest.raises(Conflict):
        await ledger.submit(submission(key="k", digest="another"))
    assert len(await ledger.tasks("", Filter(), None, 10)) == 1


async def test_a_submission_sent_again_by_its_ids_is_accepted_once(ledger: Ledger) -> None:
    sent = submission(task(), task())
    await asyncio.gather(ledger.submit(sent), ledger.submit(sent))
    await ledger.submit(sent)

    assert len(await ledger.tasks("", Filter(), None, 10)) == 2
    assert len(await Caller(ledger, hello()).claims()) == 2


async def test_a_fenced_ledger_says_so_and_serves_nothing(ledger: Ledger, store: ShakyStore) -> None:
    store.take()

    with pytest.raises(Unavailable, match="fenced"):
        await ledger.submit(submission())
    with pytest.raises(Unavailable, match="fenced"):
        await Caller(ledger, hello()).pull()


async def test_waiting_for_a_task_ends_with_the_task(ledger: Ledger) -> None:
    one = task()
    worker = Caller(ledger, hello())
    waiting = asyncio.create_task(ledger.submit_and_wait(submission(one), 5))

    await worker.report(report(await worker.claim(), 1, verdict=COMPLETED))

    _, ended = await waiting
    assert ended is not None
    assert ended.state == "completed"
    assert await ledger.task("", one.id, wait=5) == ended


async def test_waiting_is_over_when_the_time_is(ledger: Ledger) -> None:
    one = task()

    _, waited = await ledger.submit_and_wait(submission(one), 0.02)

    assert waited == one
    assert await ledger.task("", one.id, wait=0.02) == one


async def test_snapshot_and_tail_of_events_leave_no_gap(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()
    seen: list[int] = []

    async def follow() -> None:
        while True:
            page = await ledger.events("", claim.task.id, seen[-1] if seen else -1, 5)
            assert page is not None
            seen.extend(event.seq for event in page.events)
            if page.ended:
                return

    following = asyncio.create_task(follow())
    for number in range(1, 40):
        await worker.report(report(claim, number, progress(), progress()))
    await worker.report(report(claim, 40, verdict=COMPLETED))
    await asyncio.wait_for(following, 5)

    assert seen == list(range(80))


async def test_a_fault_inside_a_move_does_not_end_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(book: Book, submission: Submission, known: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(steering, "submit", broken)
        with pytest.raises(Unavailable, match="a bug"):
            await ledger.submit(submission())

    assert (await ledger.submit(submission())).task_ids
