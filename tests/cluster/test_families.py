"""Parents and their children, as the ledger keeps them: each is made once, told of, and ends with its tree."""

from __future__ import annotations

import asyncio

import pytest

from cluster.claims import Ending, Verdict
from cluster.errors import Conflict
from cluster.ledger import Ledger

from .callers import Caller, ShakyStore, running, settled, started, state
from .making import COMPLETED, ManualClock, called, hello, report, waiting


async def test_a_child_is_created_once_and_its_end_stands_in_its_parents_journal(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    claim = await started(ledger, worker, limit_key="k", priority=5)
    verdict = waiting(children=(("call echo#0", 1),))
    await worker.report(report(claim, 1, called("c1"), called("c1"), verdict=verdict))

    child = await worker.claim()
    assert (child.task.id, child.task.parent_id, child.task.limit_key, child.task.priority) == (
        "c1",
        claim.task.id,
        "k",
        5,
    )
    await worker.report(report(child, 1, verdict=COMPLETED))
    again = await worker.claim()

    assert again.task.id == claim.task.id
    assert [(str(record.id), record.value) for record in again.journal] == [
        ("call echo#0", '{"output":{"text":"hello"}}')
    ]
    await worker.report(report(again, 1, called("c1"), verdict=COMPLETED))
    assert (await ledger.counts()).tasks["echo"]["completed"] == 2


async def test_a_map_wakes_its_parent_when_enough_have_ended(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=4))
    claim = await started(ledger, worker)
    calls = [called(f"c{n}", "map echo#0", f":{n}", "map echo#0") for n in range(3)]
    await worker.report(report(claim, 1, *calls, verdict=waiting(children=(("map echo#0", 2),))))
    children = await worker.claims()
    assert len(children) == 3

    await worker.report(report(children[0], 1, verdict=COMPLETED))
    await settled()
    assert (await state(ledger, claim.task.id)).state == "waiting"
    await worker.report(report(children[1], 1, verdict=Verdict(Ending.FAILED, error='{"type":"error"}')))
    again = await worker.claim()

    assert [record.value for record in again.journal] == [
        '{"output":{"text":"hello"}}',
        '{"error":{"type":"error"}}',
    ]


async def test_a_parent_is_told_even_if_the_ledger_died_in_between(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as first:
        worker = Caller(first, hello(slots=1))
        claim = await started(first, worker)
        await worker.report(report(claim, 1, called("c1"), verdict=waiting(children=(("call echo#0", 1),))))
        child = await worker.claim()
        first._chores.noted = lambda writes: None  # type: ignore[method-assign]
        await worker.report(report(child, 1, verdict=COMPLETED))
        assert (await state(first, claim.task.id)).state == "waiting"

    async with running(store, clock) as second:
        worker.ledger = second
        assert (await worker.claim()).task.id == claim.task.id


async def test_canceling_a_tree_ends_all_of_it_and_lets_nothing_new_into_it(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=2))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1"), called("c2", key="#1")))
    (child,) = worker.given
    worker.given = []
    await ledger.cancel("", claim.task.id)
    await settled()

    queued = await state(ledger, "c2" if child.task.id == "c1" else "c1")
    assert queued.state == "canceled"
    assert (await state(ledger, child.task.id)).cancel_requested_at is not None
    await worker.report(report(claim, 2, called("c3", key="#2"), verdict=Verdict(Ending.CANCELED)))
    assert await ledger.task("", "c3") is None
    await worker.report(report(child, 1, verdict=Verdict(Ending.CANCELED)))
    await settled()
    assert (await ledger.counts()).tasks["echo"] == {"canceled": 3, "queued": 0, "running": 0}


async def test_children_do_not_outlive_their_parent(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1"), verdict=Verdict(Ending.FAILED, error="{}")))
    worker.given = []
    await settled()

    assert (await state(ledger, "c1")).cancel_requested_at is not None


async def test_a_childs_deadline_is_no_later_than_its_parents(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    claim = await started(ledger, worker, deadline=clock.time + 50)

    late = called("c1")._replace(deadline=clock.time + 100)
    early = called("c2", key="#1")._replace(deadline=clock.time + 10)
    await worker.report(report(claim, 1, late, early))

    assert (await state(ledger, "c1")).deadline == clock.time + 50
    assert (await state(ledger, "c2")).deadline == clock.time + 10


async def test_a_waiting_task_past_its_deadline_fails_and_its_children_end(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    claim = await started(ledger, worker, deadline=clock.time + 50)
    await worker.report(report(claim, 1, called("c1"), verdict=waiting(children=(("call echo#0", 1),))))

    clock.advance(50.1)
    ended = await ledger.task("", claim.task.id, 2)

    assert ended is not None
    assert '"expired"' in (ended.error or "")


@pytest.mark.parametrize(("need", "then"), [(1, "running"), (2, "waiting")])
async def test_ends_that_a_wait_has_not_heard_of_are_counted_off_what_it_waits_for(
    ledger: Ledger, need: int, then: str
) -> None:
    worker = Caller(ledger, hello(slots=4))
    claim = await started(ledger, worker)
    calls = [called(f"c{n}", "map echo#0", f":{n}", "map echo#0") for n in range(3)]
    await worker.report(report(claim, 1, *calls))
    children = await worker.claims()
    for child in children[:2]:
        await worker.report(report(child, 1, verdict=COMPLETED))
        await settled()

    one_heard = waiting(heard=1, children=(("map echo#0", need),))._replace(ends=(("map echo#0", 1),))
    await worker.report(report(claim, 2, verdict=one_heard))
    await settled()

    assert (await state(ledger, claim.task.id)).state == then
    if then == "waiting":
        await worker.report(report(children[2], 1, verdict=COMPLETED))
        assert (await worker.claim()).task.id == claim.task.id


async def test_a_parent_is_retried_only_once_the_children_that_end_with_it_have(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=2))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1")))
    child = await worker.claim()
    await worker.report(report(claim, 2, verdict=Verdict(Ending.FAILED, error="{}")))
    await settled()

    with pytest.raises(Conflict, match="still being canceled"):
        await ledger.retry("", claim.task.id)
    await worker.report(report(child, 1, verdict=Verdict(Ending.CANCELED)))
    await ledger.retry("", claim.task.id)
    again = await worker.claim()
    await worker.report(report(again, 1, called("c1")))

    assert again.task.id == claim.task.id
    assert again.journal == (), "the end that came of its own end is not told"
    assert (await worker.claim()).task.id == "c1"


async def test_a_child_that_completed_after_its_parent_had_failed_is_told_to_the_retry(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=2))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1")))
    child = await worker.claim()
    await worker.report(report(claim, 2, verdict=Verdict(Ending.FAILED, error="{}")))
    await worker.report(report(child, 1, verdict=COMPLETED))
    await settled()
    await ledger.retry("", claim.task.id)
    again = await worker.claim()

    await worker.report(report(again, 1, called("c1"), verdict=waiting(children=(("call echo#0", 1),))))

    assert [record.value for record in (await worker.claim()).journal] == ['{"output":{"text":"hello"}}']


async def test_a_parent_that_was_retried_keeps_its_children(ledger: Ledger, store: ShakyStore) -> None:
    """The look that was to cancel them comes after the retry."""
    worker = Caller(ledger, hello(slots=2))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1")))
    await worker.claim()

    await ledger._chores._cancel_children(claim.task.ref)

    assert (await state(ledger, "c1")).cancel_requested_at is None


async def test_a_running_child_hears_of_its_trees_cancel_at_once(ledger: Ledger) -> None:
    worker, other = Caller(ledger, hello("w1", slots=1)), Caller(ledger, hello("w2", slots=1))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1")))
    await other.claim()
    pull = asyncio.create_task(other.pull())
    await settled()

    await ledger.cancel("", claim.task.id)

    assert [held[1] for held in (await asyncio.wait_for(pull, 2)).cancels] == ["c1"]
