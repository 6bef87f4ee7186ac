"""What the ledger promises to callers and workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from cluster import steering
from cluster.book import Book
from cluster.claims import LEASE, Ending, Verdict
from cluster.errors import Conflict, Expired, Unavailable
from cluster.ledger import Ledger
from cluster.task import Filter, Submission, Task

from .callers import Caller, ShakyStore, held_of, opened, running, settled
from .making import COMPLETED, ManualClock, hello, progress, report, step, submission, task


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store() -> ShakyStore:
    return await opened()


@pytest.fixture
async def ledger(store: ShakyStore, clock: ManualClock) -> AsyncIterator[Ledger]:
    async with running(store, clock) as ledger:
        yield ledger


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


async def test_a_worker_never_holds_more_than_its_slots(ledger: Ledger) -> None:
    await ledger.submit(submission(*[task() for _ in range(10)]))
    worker = Caller(ledger, hello(slots=3))

    first = await worker.claims()

    assert len(first) == 3
    empty = asyncio.create_task(worker.pull())
    await settled()
    assert not empty.done()
    await worker.report(report(first[0], 1, verdict=COMPLETED))
    await settled()
    assert len(ledger.book.running) == 3
    empty.cancel()


async def test_two_parked_workers_share_what_comes(ledger: Ledger) -> None:
    one, two = Caller(ledger, hello("w1")), Caller(ledger, hello("w2"))
    pulls = [asyncio.create_task(one.claims()), asyncio.create_task(two.claims())]
    await settled()

    await ledger.submit(submission(*[task() for _ in range(6)]))

    assert [len(claims) for claims in await asyncio.gather(*pulls)] == [3, 3]


async def test_order_is_priority_then_age(ledger: Ledger) -> None:
    tasks = [task(), task(), task(priority=9)]
    await ledger.submit(submission(*tasks))

    claims = await Caller(ledger, hello()).claims()

    assert [claim.task.id for claim in claims] == [tasks[2].id, tasks[0].id, tasks[1].id]


async def test_a_report_that_comes_twice_is_applied_once(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()

    for _ in range(2):
        assert await worker.report(report(claim, 1, progress(), step())) == []

    page = await ledger.events("", claim.task.id, -1, 0)
    assert page is not None
    assert [event.type for event in page.events] == ["attempt.started", "progress", "step.completed"]


async def test_a_lost_claim_changes_nothing_and_its_worker_is_told(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.submit(submission())
    old, new = Caller(ledger, hello("old")), Caller(ledger, hello("new"))
    lost = await old.claim()
    clock.advance(LEASE + 1)
    held = await new.claim()

    assert await old.report(report(lost, 1, step(), verdict=COMPLETED)) == [held_of(lost)]
    assert await old.beat(lost) == [held_of(lost)]

    assert await ledger.steps("", lost.task.id) == []
    assert held.task.fence == lost.task.fence + 1
    assert await new.report(report(held, 1, verdict=COMPLETED)) == []


async def test_a_heartbeat_keeps_a_claim_past_its_first_lease(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()

    for _ in range(4):
        clock.advance(LEASE - 1)
        assert await worker.beat(claim) == []
    await asyncio.sleep(0.6)

    assert await worker.report(report(claim, 1, verdict=COMPLETED)) == []


async def test_a_claim_that_never_arrived_is_back_at_once_and_free(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    await worker.claim()

    await worker.beat(open=(worker.call,))
    await settled()
    assert (await ledger.counts()).tasks["echo"]["running"] == 1
    await worker.beat()
    again = await worker.claim()

    assert (again.task.attempts, again.task.fence) == (1, 2)


async def test_a_claim_on_its_way_while_a_tick_fails_is_not_taken_back(ledger: Ledger, store: ShakyStore) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()  # which its worker, as yet, has not got
    store.down = True
    with pytest.raises(Unavailable):
        await ledger.submit(submission())
    store.down = False

    await worker.beat(open=(worker.call,))
    await settled()

    assert await worker.report(report(claim, 1, verdict=COMPLETED)) == []


async def test_claims_survive_the_ledger_and_their_reports_are_taken(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as first:
        await first.submit(submission())
        worker = Caller(first, hello())
        claim = await worker.claim()
        await worker.report(report(claim, 1, step()))
    clock.advance(LEASE * 10)

    async with running(store, clock) as second:
        worker.ledger = second
        assert await worker.report(report(claim, 1, step())) == []
        assert await worker.report(report(claim, 2, progress(), verdict=COMPLETED)) == []
        page = await second.events("", claim.task.id, -1, 0)

    assert page is not None
    assert [event.type for event in page.events] == ["attempt.started", "step.completed", "progress", "output"]
    assert [event.seq for event in page.events] == [0, 1, 2, 3]


async def test_a_restarted_ledger_takes_back_what_was_on_its_way_when_it_died(
    store: ShakyStore, clock: ManualClock
) -> None:
    async with running(store, clock) as first:
        await first.submit(submission())
        worker = Caller(first, hello())
        await worker.claim()  # its answer is lost with the ledger

    async with running(store, clock) as second:
        worker.ledger = second
        await worker.beat(open=(worker.call,))
        await settled()
        assert (await second.counts()).tasks["echo"]["running"] == 1
        pull = asyncio.create_task(worker.claim())
        await settled()
        await worker.beat(open=(worker.call,))

        assert (await pull).task.attempts == 1


async def test_a_new_generation_frees_what_the_last_ones_workers_held(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as first:
        await first.submit(submission())
        await Caller(first, hello()).claim()
    owner = store.take()
    await store.open(owner.store_id, owner.generation)

    async with running(store, clock, fresh=True) as second:
        claim = await Caller(second, hello("new")).claim()

    assert (claim.task.attempts, claim.task.isolated) == (1, 0)


async def test_a_new_generation_keeps_what_it_gave_out_before_it_freed_the_old(
    store: ShakyStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ticks.READ_PAUSE", 0.01)
    async with running(store, clock) as first:
        old = task()
        await first.submit(submission(old))
        await Caller(first, hello("old")).claim()
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    store.gate.clear()
    store.down = True

    async with running(store, clock, fresh=True) as second:
        await settled()
        store.gate.set()  # and so the first try to free the old claim fails
        await settled()
        store.down = False
        worker = Caller(second, hello("new"))
        await second.submit(submission())
        held = await worker.claim()
        freed = await worker.claim()

        assert freed.task.id == old.id
        assert await worker.report(report(held, 1, verdict=COMPLETED)) == []


async def test_a_fenced_ledger_says_so_and_serves_nothing(ledger: Ledger, store: ShakyStore) -> None:
    store.take()

    with pytest.raises(Unavailable, match="fenced"):
        await ledger.submit(submission())
    with pytest.raises(Unavailable, match="fenced"):
        await Caller(ledger, hello()).pull()


async def test_a_replay_is_handed_its_journal(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()
    await worker.report(
        report(claim, 1, step("one"), progress()),
    )
    await worker.report(report(claim, 2, verdict=Verdict(Ending.RETRY, error="{}", retry_at=0.0)))

    again = await worker.claim()

    assert [str(record.id) for record in again.journal] == ["one#0"]
    assert (again.emitted, again.task.attempts) == (1, 2)


async def test_retries_wait_for_their_moment_and_end_with_their_attempts(ledger: Ledger, clock: ManualClock) -> None:
    one = task(max_attempts=2)
    await ledger.submit(submission(one))
    worker = Caller(ledger, hello())
    later = Verdict(Ending.RETRY, error='{"type":"error"}', retry_at=clock.time + 30)
    await worker.report(report(await worker.claim(), 1, verdict=later))
    pull = asyncio.create_task(worker.claim())
    await asyncio.sleep(0.1)
    assert not pull.done()

    clock.advance(31)
    await worker.report(report(await asyncio.wait_for(pull, 2), 1, verdict=later))

    ended = await ledger.task("", one.id)
    assert ended is not None
    assert (ended.state, ended.attempts, ended.error) == ("failed", 2, '{"type":"error"}')


async def test_a_released_task_has_used_up_nothing(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    await worker.report(report(await worker.claim(), 1, verdict=Verdict(Ending.RELEASED)))

    assert (await worker.claim()).task.attempts == 1


async def test_a_queued_task_is_canceled_at_once(ledger: Ledger) -> None:
    one = task()
    await ledger.submit(submission(one))

    canceled = await ledger.cancel("", one.id)

    assert canceled is not None
    assert canceled.state == "canceled"
    page = await ledger.events("", one.id, -1, 0)
    assert page is not None
    assert ([event.type for event in page.events], page.ended) == (["canceled"], True)
    assert await ledger.cancel("", one.id) == canceled


async def test_a_cancel_reaches_the_worker_that_holds_the_task(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()
    pull = asyncio.create_task(worker.pull())
    await settled()

    asked = await ledger.cancel("", claim.task.id)

    assert asked is not None
    assert (asked.state, asked.cancel_requested_at is None) == ("running", False)
    assert (await pull).cancels == (held_of(claim),)
    await worker.report(report(claim, 1, verdict=Verdict(Ending.CANCELED)))
    ended = await ledger.task("", claim.task.id)
    assert ended is not None
    assert ended.state == "canceled"


async def test_of_a_cancel_and_a_result_the_first_to_commit_wins(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()
    await ledger.cancel("", claim.task.id)

    await worker.report(report(claim, 1, verdict=COMPLETED))

    with pytest.raises(Conflict, match="already completed"):
        await ledger.cancel("", claim.task.id)


async def test_a_canceled_task_whose_worker_dies_is_canceled(ledger: Ledger) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()
    await ledger.cancel("", claim.task.id)

    await ledger.worker_lost("w1", fault=True)

    ended = await ledger.task("", claim.task.id)
    assert ended is not None
    assert ended.state == "canceled"


async def test_a_lost_node_costs_its_tasks_nothing(ledger: Ledger) -> None:
    await ledger.submit(submission(task(), task()))
    await Caller(ledger, hello("w1")).claims()

    await ledger.worker_lost("w1", fault=False)

    claims = await Caller(ledger, hello("w2")).claims()
    assert [(claim.task.attempts, claim.task.isolated) for claim in claims] == [(1, 0), (1, 0)]


async def test_after_a_worker_died_its_tasks_run_one_at_a_time_alone(ledger: Ledger) -> None:
    await ledger.submit(submission(task(), task()))
    await Caller(ledger, hello("w1")).claims()
    await ledger.worker_lost("w1", fault=True)
    await ledger.submit(submission(task()))
    worker = Caller(ledger, hello("w2"))

    first = await worker.claim()
    assert first.task.isolated
    pull = asyncio.create_task(worker.pull())
    await settled()
    assert not pull.done()
    await worker.report(report(first, 1, verdict=COMPLETED))
    second = await worker.claim()
    assert second.task.isolated
    await worker.report(report(second, 1, verdict=COMPLETED))

    assert not (await worker.claim()).task.isolated


async def test_only_a_death_in_isolation_counts_and_the_poison_ends_failed(ledger: Ledger) -> None:
    poison = task(max_attempts=2)
    await ledger.submit(submission(poison))
    for number in range(3):
        claim = await Caller(ledger, hello(f"w{number}")).claim()
        assert claim.task.id == poison.id
        await ledger.worker_lost(f"w{number}", fault=True)

    ended = await ledger.task("", poison.id)
    assert ended is not None
    assert (ended.state, ended.attempts) == ("failed", 2)
    assert json.loads(ended.error or "")["type"] == "worker_died"


async def test_a_worker_declared_lost_is_told_to_stop(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    pull = asyncio.create_task(worker.pull())
    await settled()

    await ledger.worker_lost("w1", fault=True)

    assert (await pull).stop
    assert (await worker.pull()).stop


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


async def test_a_queue_longer_than_the_window_is_served_whole_and_in_order(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ready.WINDOW", 8)
    tasks = [task(priority=n % 3) for n in range(50)]
    await ledger.submit(submission(*tasks[:30]))
    await ledger.submit(submission(*tasks[30:]))
    worker = Caller(ledger, hello(slots=7))
    served: list[Task] = []

    while len(served) < 50:
        claims = await worker.claims()
        served += [claim.task for claim in claims]
        await worker.report(*[report(claim, 1, verdict=COMPLETED) for claim in claims])

    assert [one.id for one in served] == [one.id for one in sorted(tasks, key=lambda t: (-t.priority, t.id))]


async def test_a_fault_inside_a_move_does_not_end_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(book: Book, submission: Submission, known: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(steering, "submit", broken)
        with pytest.raises(Unavailable, match="a bug"):
            await ledger.submit(submission())

    assert (await ledger.submit(submission())).task_ids
