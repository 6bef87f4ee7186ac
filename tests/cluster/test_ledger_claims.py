"""What the ledger promises to workers: claims in order, within their slots, kept by heartbeats, over its restarts."""

from __future__ import annotations

import asyncio
import json

import pytest

from cluster import handing
from cluster.claims import LEASE, Ending, Verdict
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.task import Task

from .callers import Caller, ShakyStore, held_of, pass_by, running, settled, started, state
from .making import COMPLETED, ManualClock, hello, progress, report, step, submission, task


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


async def test_a_queue_longer_than_the_window_is_served_whole_and_in_order(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.windows.WINDOW", 8)
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
    await pass_by(ledger, clock, LEASE + 1)
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


async def test_a_ledger_that_stood_still_hears_its_workers_before_it_ends_a_lease(
    ledger: Ledger, clock: ManualClock
) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    claim = await worker.claim()

    clock.advance(LEASE + 1)
    await ledger.counts()  # a tick, before the heartbeats that waited meanwhile
    assert await worker.beat(claim) == []
    await pass_by(ledger, clock, LEASE + 1)

    assert await worker.beat(claim) == [held_of(claim)]


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


async def test_nor_is_one_whose_call_overtook_another(ledger: Ledger, store: ShakyStore) -> None:
    await ledger.submit(submission())
    worker = Caller(ledger, hello())
    worker.call += 1  # a pull that takes its time
    claim = await worker.claim()  # whose answer does, too
    store.down = True
    with pytest.raises(Unavailable):
        await ledger.submit(submission())
    store.down = False
    pull = asyncio.create_task(ledger.pull(worker.hello, 1))
    await settled()

    await worker.beat(open=(1, 2))
    await worker.beat(open=(1, 2))
    pull.cancel()

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


async def test_a_new_generation_takes_no_report_of_the_last_ones_workers_even_while_it_starts(
    store: ShakyStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(store, clock) as first:
        await first.submit(submission())
        old = Caller(first, hello("old"))
        claim = await old.claim()
    owner, running_tasks, read = store.take(), store.running, asyncio.Event()
    await store.open(owner.store_id, owner.generation)

    async def slowly() -> list[Task]:
        await read.wait()
        return await running_tasks()

    monkeypatch.setattr(store, "running", slowly)
    async with running(store, clock, fresh=True) as second:
        old.ledger = second
        reported = asyncio.create_task(old.report(report(claim, 1, verdict=COMPLETED)))
        await settled()
        read.set()

        assert await reported == [held_of(claim)]
        assert (await state(second, claim.task.id)).output is None


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


async def test_claims_that_do_not_fit_into_one_answer_come_in_several(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Caller(ledger, hello(slots=3))
    for claim in [await started(ledger, worker) for _ in range(3)]:
        await worker.report(report(claim, 1, step(value=f'"{"x" * 1000}"')))
    monkeypatch.setattr(handing, "ROOM", 2000)
    await ledger.worker_lost("w1", fault=False)

    again = Caller(ledger, hello("w2", slots=3))
    found = [await again.claim() for _ in range(3)]

    assert len({claim.task.id for claim in found}) == 3
    assert all(len(claim.journal) == claim.task.attempts == 1 for claim in found)


async def test_a_task_that_fits_into_no_answer_fails_and_holds_up_no_other(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Caller(ledger, hello())
    large = await started(ledger, worker)
    await worker.report(report(large, 1, step(value=f'"{"x" * 1000}"')))
    monkeypatch.setattr(handing, "ROOM", 500)
    await worker.report(report(large, 2, verdict=Verdict(Ending.RETRY, error="{}", retry_at=0.0)))

    other = await started(ledger, worker)
    await settled()

    failed = await state(ledger, large.task.id)
    error = json.loads(failed.error or "{}")
    assert other.task.id != failed.id
    assert (failed.state, error["type"]) == ("failed", "too_large")
    assert "artifact" in error["detail"]
