"""That a live run becomes a task once, with all that it has reached, and that its process is fenced like any worker."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.journal import StepRecord
from cluster.claims import LEASE, Ending, Hello, Picture, Report, Verdict
from cluster.errors import Conflict, Unavailable
from cluster.ledger import Ledger
from cluster.task import Filter

from .callers import Caller, ShakyStore, pass_by, state
from .making import COMPLETED, ManualClock, hello, progress, promotion, step

REPLICA = Hello("replica-1", "replica", {})
OTHER = Hello("replica-2", "replica", {})
RELEASED = Verdict(Ending.RELEASED)


def held(id: str) -> tuple[str, str, int]:
    return "", id, 1


async def events_of(ledger: Ledger, id: str) -> list[tuple[int, str, int]]:
    page = await ledger.events("", id, -1, 0)
    assert page is not None
    return [(event.seq, event.type, event.attempt) for event in page.events]


async def test_it_is_a_task_that_its_replica_has_claimed_with_all_that_it_has_reached(ledger: Ledger) -> None:
    made = await ledger.promote(REPLICA, 1, promotion(progress("a"), step("think", value="1")))

    found = await state(ledger, made.id)
    assert (made.worker, made.fence) == (REPLICA.id, 1)
    assert (found.state, found.worker, found.fence, found.attempts) == ("running", REPLICA.id, 1, 1)
    assert found.started_at == 999_990.0
    assert await events_of(ledger, made.id) == [
        (0, "attempt.started", 1),
        (1, "progress", 1),
        (2, "step.completed", 1),
        (3, "promoted", 1),
    ]
    assert [(each.name, each.value) for each in await ledger.steps("", made.id) or []] == [("think", "1")]
    assert (await ledger.counts()).tasks == {"echo": {"running": 1}}


async def test_a_worker_goes_on_where_it_was_given_back_with_the_same_attempt(ledger: Ledger) -> None:
    id = (await ledger.promote(REPLICA, 1, promotion(progress("a"), step("think"), progress("b")))).id
    last = Report(*held(id), 2, (step("look"), progress("c")), RELEASED)
    assert (await ledger.report(REPLICA, 2, (last,))).lost == ()
    worker = Caller(ledger, hello())

    claim = await worker.claim()

    assert (claim.task.id, claim.task.fence, claim.task.attempts, claim.emitted) == (id, 2, 1, 3)
    assert {record.id.name for record in claim.journal if isinstance(record, StepRecord)} == {"think", "look"}
    assert (await ledger.report(REPLICA, 3, (Report(*held(id), 3, (step("late"),)),))).lost == (held(id),)
    assert await worker.report(Report("", id, 2, 1, (), COMPLETED)) == []
    assert [type for _, type, _ in await events_of(ledger, id)] == [
        *("attempt.started", "progress", "step.completed", "progress", "promoted"),
        *("step.completed", "progress", "attempt.started", "output"),
    ]


async def test_a_run_that_ended_meanwhile_ends_the_task(ledger: Ledger) -> None:
    id = (await ledger.promote(REPLICA, 1, promotion())).id

    await ledger.report(REPLICA, 2, (Report(*held(id), 2, (), COMPLETED),))

    assert (await state(ledger, id)).state == "completed"


async def test_asked_again_nothing_changes_and_the_claim_is_still_its(ledger: Ledger) -> None:
    asked = promotion(step("think"))
    first = await ledger.promote(REPLICA, 1, asked)

    again = await ledger.promote(REPLICA, 2, asked)

    assert again == first
    assert len(await events_of(ledger, first.id)) == 3
    beat = await ledger.beat(REPLICA.id, Picture(2, (), (held(first.id),)))
    assert beat.lost == ()
    assert (await state(ledger, first.id)).worker == REPLICA.id


async def test_both_asked_in_one_tick_are_one_task(ledger: Ledger, store: ShakyStore) -> None:
    asked = promotion(step("think"))
    store.gate.clear()
    waiting = ledger.promote(OTHER, 1, promotion())  # a tick that takes its time
    first = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    both = [asyncio.create_task(ledger.promote(who, 1, asked)) for who in (REPLICA, OTHER)]
    await asyncio.sleep(0)
    store.gate.set()

    one, two = await asyncio.gather(*both)
    await first

    assert (one.worker, two.worker) == (REPLICA.id, REPLICA.id)
    assert (await ledger.counts()).tasks == {"echo": {"running": 2}}


async def test_one_whose_answer_was_lost_is_queued_once_its_replica_has_given_up(ledger: Ledger) -> None:
    id = (await ledger.promote(REPLICA, 1, promotion(step("think")))).id

    await ledger.beat(REPLICA.id, Picture(1, (1,), ()))
    assert (await state(ledger, id)).state == "running"
    await ledger.beat(REPLICA.id, Picture(1, (), ()))

    found = await state(ledger, id)
    assert (found.state, found.attempts, found.isolated) == ("queued", 0, 0)


async def test_one_whose_replica_died_is_queued_at_the_end_of_its_lease(ledger: Ledger, clock: ManualClock) -> None:
    id = (await ledger.promote(REPLICA, 1, promotion(step("think")))).id

    await pass_by(ledger, clock, LEASE + 1)

    assert (await state(ledger, id)).state == "queued"


async def test_a_key_has_one_body(ledger: Ledger) -> None:
    first = promotion(key="k", digest="a")
    id = (await ledger.promote(REPLICA, 1, first)).id

    with pytest.raises(Conflict):
        await ledger.promote(OTHER, 1, promotion(key="k", digest="b", id=id))
    again = await ledger.promote(OTHER, 2, promotion(key="k", digest="a", id=id))

    assert (again.id, again.worker) == (id, REPLICA.id)
    found = await ledger.tasks("", Filter(idempotency_key="k"), None, 10)
    assert [task.id for task in found] == [id]


async def test_where_the_store_takes_nothing_it_is_no_task(ledger: Ledger, store: ShakyStore) -> None:
    asked = promotion(step("think"))
    store.down = True
    with pytest.raises(Unavailable):
        await ledger.promote(REPLICA, 1, asked)
    store.down = False

    assert await ledger.task("", asked.submission.tasks[0].id) is None
    assert (await ledger.promote(REPLICA, 2, asked)).worker == REPLICA.id


async def test_it_may_be_canceled_while_its_replica_has_it(ledger: Ledger) -> None:
    id = (await ledger.promote(REPLICA, 1, promotion())).id

    await ledger.cancel("", id)

    assert (await ledger.beat(REPLICA.id, Picture(1, (), (held(id),)))).cancels == (held(id),)
    await ledger.report(REPLICA, 2, (Report(*held(id), 2, (), Verdict(Ending.CANCELED)),))
    assert (await state(ledger, id)).state == "canceled"


async def test_it_counts_against_the_limits_of_its_key(ledger: Ledger) -> None:
    await ledger.promote(REPLICA, 1, promotion(limit_key="acme"))

    assert (await ledger.limit("", "acme")).running == 1


async def test_the_artifacts_it_names_are_its_own(ledger: Ledger, store: ShakyStore) -> None:
    reference = {"sha256": "a" * 64, "size": 3, "media_type": "text/plain", "name": ""}
    made = await ledger.promote(REPLICA, 1, promotion(step("keep", value=json.dumps(reference)), input='{"n":1}'))

    assert (await state(ledger, made.id)).state == "running"
    assert await store.referenced("", ["a" * 64]) == {"a" * 64}
