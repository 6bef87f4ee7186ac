"""While a tick is committed the next is made ready, and nobody hears of it before its own commit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster import ready, ticks
from cluster.claims import Claim, Orders
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.task import Options, State, Submitted

from .callers import Caller, ShakyStore, settled, state
from .making import COMPLETED, hello, report, submission, task


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "BESIDE", 0)  # of one row too


async def busy(ledger: Ledger, store: ShakyStore, number: int = 4) -> tuple[Caller, Caller, list[Claim], list[Claim]]:
    """Two workers with two claims each, as many tasks queued, and a store whose gate is shut."""
    await ledger.submit(submission(*(task() for _ in range(2 * number))))
    first, second = (Caller(ledger, hello(id, slots=number // 2)) for id in ("w1", "w2"))
    claims = list(await first.claims()), list(await second.claims())
    store.gate.clear()
    return first, second, *claims


def done(worker: Caller, claims: list[Claim]) -> asyncio.Task[list[object]]:
    return asyncio.create_task(worker.report(*(report(claim, 1, verdict=COMPLETED) for claim in claims)))


async def test_a_report_is_applied_beside_a_commit_and_answered_after_its_own(
    ledger: Ledger, store: ShakyStore
) -> None:
    first, second, ours, theirs = await busy(ledger, store)
    before = store.commits

    one = done(first, ours)
    await settled()
    other = done(second, theirs)
    await settled()

    assert ledger.book.counts["echo", "completed"] == 4  # both are made ...
    assert (store.commits, one.done(), other.done()) == (before, False, False)  # ... and none is durable
    assert {(await state(ledger, claim.task.id)).state for claim in [*ours, *theirs]} == {State.RUNNING}

    store.gate.set()
    assert await one == await other == []
    assert {(await state(ledger, claim.task.id)).state for claim in [*ours, *theirs]} == {State.COMPLETED}
    assert store.commits == before + 2
    assert len({claim.task.id for claim in [*first.given, *second.given]}) == 4


async def test_where_the_commit_fails_both_are_made_again_and_each_once(ledger: Ledger, store: ShakyStore) -> None:
    first, second, ours, theirs = await busy(ledger, store)
    submitting = asyncio.create_task(ledger.submit(submission(task(input='"poison"'))))
    await settled()
    ahead = [done(first, ours), done(second, theirs)]
    await settled()
    assert ledger.book.counts["echo", "completed"] == 4

    store.gate.set()
    with pytest.raises(Unavailable):
        await submitting

    assert await asyncio.gather(*ahead) == [[], []]
    assert ledger.book.counts == {("echo", "completed"): 4, ("echo", "running"): 4, ("echo", "queued"): 0}
    assert len({claim.task.id for claim in [*first.given, *second.given]}) == 4


async def test_a_fault_in_what_is_made_ahead_hurts_nothing_but_itself(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, ours, theirs = await busy(ledger, store)
    one = done(first, ours)
    await settled()

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(ticks, "assign", broken)
        other = done(second, theirs)
        await settled()
    store.gate.set()

    assert await one == await other == []
    assert ledger.book.counts["echo", "completed"] == 4


async def test_what_must_be_read_waits_for_the_commit(ledger: Ledger, store: ShakyStore) -> None:
    first, second, ours, theirs = await busy(ledger, store)
    one = done(first, ours)
    await settled()
    canceling = asyncio.create_task(ledger.cancel("", theirs[0].task.id))
    other = done(second, theirs)
    await settled()

    assert ledger.book.counts["echo", "completed"] == 2  # what came after waits as well
    assert not ledger.book.canceling

    store.gate.set()
    assert await one == await other == []
    assert await canceling is not None


async def test_a_parked_pull_is_not_given_more_than_it_is_answered_with(ledger: Ledger, store: ShakyStore) -> None:
    worker = Caller(ledger, hello(slots=3))
    pulling = asyncio.create_task(worker.claims())
    await settled()
    store.gate.clear()
    submitting = [asyncio.create_task(ledger.submit(submission(task()))) for _ in range(2)]
    await settled()
    submitting.append(asyncio.create_task(ledger.submit(submission(task()))))  # made ahead, while the pull has two
    await settled()
    store.gate.set()
    await asyncio.gather(*submitting)

    claims = await pulling
    assert len(claims) == 2
    assert len(await worker.claims()) == 1  # by the next pull, and not lost with an answer to none


async def promised(
    ledger: Ledger, store: ShakyStore
) -> tuple[asyncio.Task[tuple[Claim, ...]], asyncio.Task[Submitted]]:
    """A parked pull, and a task for it that is not committed before the store's gate opens."""
    pulling = asyncio.create_task(Caller(ledger, hello()).claims())
    await settled()
    store.gate.clear()
    return pulling, asyncio.create_task(ledger.submit(submission(task())))


async def test_a_pull_waits_longer_while_what_it_is_to_bring_is_committed(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.parking.PULL_SECONDS", 0.1)
    pulling, submitting = await promised(ledger, store)
    await asyncio.sleep(0.15)
    waits = not pulling.done()
    store.gate.set()
    await submitting

    assert waits
    assert len(await pulling) == 1


async def test_a_pull_goes_home_at_last_though_a_commit_takes_for_ever(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.parking.PULL_SECONDS", 0.05)
    pulling, submitting = await promised(ledger, store)

    assert await asyncio.wait_for(pulling, 5) == ()
    store.gate.set()
    await submitting


async def parked_with_news(ledger: Ledger, store: ShakyStore) -> tuple[Caller, asyncio.Task[Orders], Any]:
    """A worker that holds a task and has a free slot, whose pull is parked while a signal for the task is committed
    and another task is made ready; and what waits for that."""
    worker = Caller(ledger, hello(slots=2))
    await ledger.submit(submission(waiting := task()))
    await worker.claim()
    pulling = asyncio.create_task(worker.pull())
    await settled()
    store.gate.clear()
    signaling = asyncio.create_task(ledger.signal("", waiting.id, "go", "1"))
    await settled()
    submitting = asyncio.create_task(ledger.submit(submission(task())))
    await settled()
    return worker, pulling, asyncio.gather(signaling, submitting, return_exceptions=True)


async def test_news_are_told_when_they_are_durable_and_what_is_next_with_the_next_pull(
    ledger: Ledger, store: ShakyStore
) -> None:
    worker, pulling, both = await parked_with_news(ledger, store)
    store.gate.set()
    await both

    orders = await asyncio.wait_for(pulling, 2)
    assert (len(orders.news), len(orders.claims)) == (1, 0)
    assert len(await worker.claims()) == 1


async def test_news_are_told_though_the_next_commit_fails(ledger: Ledger, store: ShakyStore) -> None:
    _, pulling, both = await parked_with_news(ledger, store)
    store.fails_after = 1
    store.gate.set()
    await both

    assert len((await asyncio.wait_for(pulling, 2)).news) == 1


async def test_the_parked_pull_of_who_reports_gets_what_comes_meanwhile(ledger: Ledger, store: ShakyStore) -> None:
    worker = Caller(ledger, hello(slots=3))
    await ledger.submit(submission(task(), task(), task()))
    held = await worker.claims()
    pulling = asyncio.create_task(worker.pull())
    await settled()
    store.gate.clear()
    submitting = [asyncio.create_task(ledger.submit(submission(task())))]
    reporting = done(worker, [*held[:2]])  # whose answer brings the task that was submitted before
    await settled()
    submitting.append(asyncio.create_task(ledger.submit(submission(task()))))
    await settled()
    store.gate.set()
    await asyncio.gather(reporting, *submitting)

    assert len(worker.given) + len((await asyncio.wait_for(pulling, 0.4)).claims) == 2  # before the next look around


async def test_nothing_is_made_ahead_while_the_store_is_to_be_looked_into(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, ours, theirs = await busy(ledger, store)
    one = done(first, ours)
    await settled()
    monkeypatch.setattr(ready.Ready, "wants", lambda *_: True)
    other = done(second, theirs)
    await settled()

    assert ledger.book.counts["echo", "completed"] == 2
    store.gate.set()
    assert await one == await other == []


async def test_what_is_sent_again_while_it_is_committed_is_accepted_once(ledger: Ledger, store: ShakyStore) -> None:
    sent = submission(task(), task())
    store.gate.clear()
    first = asyncio.create_task(ledger.submit(sent))
    await settled()
    again = asyncio.create_task(ledger.submit(sent))
    await settled()
    store.gate.set()

    ids = tuple(each.id for each in sent.tasks)
    assert await first == Submitted(ids, sent.batch_id, replayed=False)
    assert await again == Submitted(ids, sent.batch_id, replayed=True)
    assert ledger.book.counts["echo", "queued"] == 2


async def test_a_limit_holds_over_both_ticks(ledger: Ledger, store: ShakyStore) -> None:
    await ledger.set_rule(Rule("", Options().limit_key, concurrency=3))  # of the workers' four slots
    first, second, ours, theirs = await busy(ledger, store)
    one = done(first, ours)
    await settled()
    other = done(second, theirs)
    await settled()

    assert (ledger.book.counts["echo", "completed"], ledger.book.counts["echo", "running"]) == (3, 3)
    store.gate.set()
    await asyncio.gather(one, other)


async def test_a_ledger_that_stops_leaves_what_was_made_ahead_undone(ledger: Ledger, store: ShakyStore) -> None:
    first, second, ours, theirs = await busy(ledger, store)
    one = done(first, ours)
    await settled()
    other = done(second, theirs)
    await settled()
    ledger.stop()
    store.gate.set()

    assert await one == []
    await settled()
    assert not other.done()
    found = await store.many([claim.task.ref for claim in theirs])
    assert {each.state for each in found.values()} == {State.RUNNING}
    other.cancel()
