"""A parent that ended, and is retried, waits for none of its children in vain."""

from __future__ import annotations

import asyncio

import pytest

from cluster import chores
from cluster.claims import Claim, Ending, Verdict
from cluster.errors import Conflict
from cluster.ledger import Ledger
from cluster.task import TOLD, Filter, Task

from .callers import Caller, ShakyStore, settled, state
from .making import COMPLETED, ManualClock, called, hello, report, submission, task, waiting

WAITING = waiting(ran=0.0, children=(("call echo#0", 1),))


async def called_again(ledger: Ledger, worker: Caller) -> Claim:
    """The parent is retried and calls its child once more; what the worker is given next."""
    await ledger.retry("", "p")
    again = await worker.claim()
    assert (again.task.id, again.journal) == ("p", ())
    await worker.report(report(again, 1, called("c1"), verdict=WAITING))
    return await worker.claim()


async def canceled_with_its_child(ledger: Ledger, worker: Caller, deadline: float | None = None) -> None:
    await ledger.submit(submission(task(id="p")))
    await worker.report(report(await worker.claim(), 1, called("c1", deadline=deadline), verdict=WAITING))
    child = await worker.claim()
    await ledger.cancel("", "p")
    await settled()
    await worker.report(report(child, 1, verdict=Verdict(Ending.CANCELED)))
    await settled()
    assert [(await state(ledger, id)).state for id in ("p", "c1")] == ["canceled", "canceled"]


async def test_a_child_that_was_canceled_with_its_parent_runs_again_with_it(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    await canceled_with_its_child(ledger, worker)

    child = await called_again(ledger, worker)
    assert child.task.id == "c1"
    await worker.report(report(child, 1, verdict=COMPLETED))

    assert [record.value for record in (await worker.claim()).journal] == ['{"output":{"text":"hello"}}']


async def test_parents_whose_children_have_not_ended_yet_are_left_out_of_a_retry_of_many(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    await ledger.submit(submission(task(id="p")))
    await worker.report(report(await worker.claim(), 1, called("c1"), verdict=WAITING))
    child = await worker.claim()
    await ledger.cancel("", "p")
    await settled()

    assert await ledger.retry_all("", Filter(state="canceled")) == 0
    assert (await state(ledger, "p")).state == "canceled"
    await worker.report(report(child, 1, verdict=Verdict(Ending.CANCELED)))
    await settled()

    assert await ledger.retry_all("", Filter(state="canceled")) == 2


async def test_a_child_whose_parent_is_over_is_not_retried_without_it(ledger: Ledger) -> None:
    """It would be canceled again, for its parent takes along whatever it called."""
    worker = Caller(ledger, hello(slots=2))
    await ledger.submit(submission(task(id="p")))
    parent = await worker.claim()
    await worker.report(report(parent, 1, called("c1")))
    await worker.report(report(await worker.claim(), 1, verdict=Verdict(Ending.FAILED, error="{}")))
    await ledger.cancel("", "p")
    with pytest.raises(Conflict, match="task p, which called c1, is to be canceled; retry or fork that one"):
        await ledger.retry("", "c1")

    await worker.report(report(parent, 2, verdict=Verdict(Ending.FAILED, error="{}")))

    with pytest.raises(Conflict, match="task p, which called c1, has failed"):
        await ledger.retry("", "c1")
    assert await ledger.retry_all("", Filter(parent_id="p")) == 0
    assert (await state(ledger, "c1")).state == "failed"


async def test_a_child_that_was_retried_by_itself_is_heard_of_too(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    await canceled_with_its_child(ledger, worker)
    await ledger.retry("", "p")
    await ledger.retry("", "c1")
    child = await worker.claim()
    assert child.task.id == "c1"
    await worker.report(report(child, 1, verdict=COMPLETED))

    again = await worker.claim()
    if not again.journal:
        await worker.report(report(again, 1, called("c1"), verdict=WAITING))
        again = await worker.claim()

    assert [record.value for record in again.journal] == ['{"output":{"text":"hello"}}']


async def test_a_canceled_child_past_its_deadline_is_heard_of_as_canceled(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    await canceled_with_its_child(ledger, worker, deadline=clock.time + 10)
    clock.advance(10)

    again = await called_again(ledger, worker)

    assert "canceled" in again.journal[0].value


async def test_children_of_a_parent_that_was_retried_meanwhile_go_on(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look for children to cancel comes late: their parent lives again."""
    monkeypatch.setattr(chores, "SOME", 1)
    looks: list[str] = []
    look = store.children

    async def counted(tenant: str, parent_id: str, limit: int) -> list[Task]:
        looks.append(parent_id)
        return await look(tenant, parent_id, limit)

    monkeypatch.setattr(store, "children", counted)
    worker = Caller(ledger, hello(slots=1))
    await ledger.submit(submission(task(id="p")))
    await worker.report(report(await worker.claim(), 1, called("c1"), verdict=WAITING))
    worker.given = []

    store.gate.clear()
    canceled = asyncio.create_task(ledger.cancel("", "p"))
    await settled()
    retried = asyncio.create_task(ledger.retry("", "p"))
    await settled()
    store.gate.set()
    await asyncio.gather(canceled, retried)
    await settled()

    assert (await state(ledger, "c1")).cancel_requested_at is None
    assert looks == ["p"], "and it does not look again for ever"


async def test_a_child_that_ended_while_nobody_listened_is_heard_of(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    await ledger.submit(submission(task(id="p")))
    await worker.report(report(await worker.claim(), 1, called("c1"), verdict=WAITING))
    child = await worker.claim()
    await ledger.cancel("", "p")
    await worker.report(report(child, 1, verdict=COMPLETED))  # it was too late to cancel it
    await settled()

    again = await called_again(ledger, worker)

    assert [record.value for record in again.journal] == ['{"output":{"text":"hello"}}']
    assert (again.task.id, (await state(ledger, "c1")).attempts) == ("p", 1)


async def test_what_stands_in_a_journal_stays_told_when_its_child_runs_again_and_is_canceled(ledger: Ledger) -> None:
    worker = Caller(ledger, hello(slots=1))
    await ledger.submit(submission(task(id="p")))
    await worker.report(report(await worker.claim(), 1, called("c1"), verdict=WAITING))
    await worker.report(report(await worker.claim(), 1, verdict=Verdict(Ending.FAILED, error="{}")))
    parent = await worker.claim()
    assert (await state(ledger, "c1")).told == TOLD
    await ledger.retry("", "c1")

    await worker.report(report(parent, 1, verdict=Verdict(Ending.FAILED, error="{}")))
    await settled()

    child = await state(ledger, "c1")
    assert (child.cancel_requested_at is not None, child.told) == (True, TOLD)
