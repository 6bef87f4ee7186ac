"""Waits and signals, as the ledger keeps them: a wait holds nobody, and no signal is missed."""

from __future__ import annotations

import asyncio

import pytest

from cluster.claims import Ending, SignalSent, Verdict
from cluster.errors import Conflict, Unavailable
from cluster.ledger import Ledger

from .callers import Caller, ShakyStore, running, settled, started, state
from .making import COMPLETED, ManualClock, hello, report, step, submission, task, waiting


async def test_a_wait_holds_no_worker_and_its_resume_is_no_attempt(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, step("sleep"), verdict=waiting(until=clock.time + 10)))
    found = await state(ledger, claim.task.id)
    assert (found.state, found.worker, found.ran) == ("waiting", None, 1.0)
    other = await started(ledger, worker)
    await worker.report(report(other, 1, verdict=COMPLETED))

    clock.advance(10.1)
    again = await worker.claim()

    assert (again.task.id, again.task.attempts, again.task.ran) == (claim.task.id, 1, 1.0)
    assert [record.id.name for record in again.journal] == ["sleep"]
    await worker.report(report(again, 1, verdict=COMPLETED))
    page = await ledger.events("", claim.task.id, -1, 0)
    assert page is not None
    assert [event.type for event in page.events] == ["attempt.started", "step.completed", "waiting", "output"]


async def test_a_sleeper_wakes_under_another_ledger(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as first:
        worker = Caller(first, hello())
        claim = await started(first, worker)
        await worker.report(report(claim, 1, verdict=waiting(until=clock.time + 10)))
    clock.advance(20)

    async with running(store, clock) as second:
        assert (await Caller(second, hello("w2")).claim()).task.id == claim.task.id


async def test_what_resumes_goes_before_what_is_new(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    claim = await started(ledger, worker)
    filler = task()
    await ledger.submit(submission(filler))
    await worker.report(report(claim, 1, verdict=waiting(signals=("go",))))
    (held,) = worker.given
    await ledger.submit(submission(*(task() for _ in range(3))))
    await ledger.signal("", claim.task.id, "go", "1")

    worker.given = []
    await worker.report(report(held, 1, verdict=COMPLETED))

    assert [each.task.id for each in worker.given] == [claim.task.id]


async def test_a_signal_wakes_who_waits_for_its_name_and_no_other(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=waiting(signals=("go",))))

    await ledger.signal("", claim.task.id, "stop", "0")
    assert (await state(ledger, claim.task.id)).state == "waiting"
    await ledger.signal("", claim.task.id, "go", "1")
    again = await worker.claim()

    assert again.signals == (SignalSent(0, "stop", "0"), SignalSent(1, "go", "1"))


async def test_signals_before_the_start_are_kept_in_order_and_taken_once(ledger: Ledger) -> None:
    one = task()
    await ledger.submit(submission(one))
    for payload in "ab":
        await ledger.signal("", one.id, "go", f'"{payload}"')
    worker = Caller(ledger, hello())
    claim = await worker.claim()
    assert [signal.payload for signal in claim.signals] == ['"a"', '"b"']

    took = step("signal go")._replace(signal=0)
    await worker.report(report(claim, 1, took, verdict=Verdict(Ending.RELEASED)))

    assert [signal.payload for signal in (await worker.claim()).signals] == ['"b"']


async def test_a_signal_to_a_running_task_reaches_its_worker_as_news(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    pull = asyncio.create_task(worker.pull())
    await settled()

    await ledger.signal("", claim.task.id, "go", "1")

    ((held, news),) = (await pull).news
    assert held[1] == claim.task.id
    assert news == (SignalSent(0, "go", "1"),)


@pytest.mark.parametrize(("heard", "then"), [(0, "running"), (1, "waiting")])
async def test_a_wait_that_has_not_heard_of_a_signal_goes_on_at_once(ledger: Ledger, heard: int, then: str) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await ledger.signal("", claim.task.id, "go", "1")

    await worker.report(report(claim, 1, verdict=waiting(signals=("go",), heard=heard)))
    await settled()

    assert (await state(ledger, claim.task.id)).state == then


async def test_an_ended_task_takes_no_signal(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=COMPLETED))

    with pytest.raises(Conflict):
        await ledger.signal("", claim.task.id, "go", "1")
    assert await ledger.signal("other", claim.task.id, "go", "1") is None


async def test_a_canceled_wait_ends_at_once(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=waiting(signals=("go",))))

    ended = await ledger.cancel("", claim.task.id)

    assert ended is not None
    assert ended.state == "canceled"
    assert (await ledger.counts()).tasks["echo"] == {"queued": 0, "running": 0, "waiting": 0, "canceled": 1}


async def test_a_dead_worker_under_a_resumed_run_costs_no_attempt(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello("w1"))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=waiting(until=clock.time + 1)))
    clock.advance(2)
    await worker.claim()

    await ledger.worker_lost("w1", fault=False)
    again = await Caller(ledger, hello("w2")).claim()

    assert (again.task.attempts, again.task.fence) == (1, 3)


async def test_a_signal_that_the_run_took_does_not_wake_its_next_wait(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await ledger.signal("", claim.task.id, "go", "1")
    await ledger.signal("", claim.task.id, "stop", "2")
    took = step("signal go")._replace(signal=0)

    await worker.report(report(claim, 1, took, verdict=waiting(heard=1, signals=("go",))._replace(ends=())))
    await settled()

    assert (await state(ledger, claim.task.id)).state == "waiting"


async def test_nobody_is_told_of_a_signal_or_a_cancel_before_it_is_durable(ledger: Ledger, store: ShakyStore) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    store.gate.clear()
    signal = asyncio.create_task(ledger.signal("", claim.task.id, "go", "1"))
    cancel = asyncio.create_task(ledger.cancel("", claim.task.id))
    await settled()

    pull = asyncio.create_task(worker.pull())
    await settled()
    assert not pull.done()
    store.gate.set()
    orders = await asyncio.wait_for(pull, 2)

    assert (len(orders.news), len(orders.cancels)) == (1, 1)
    await asyncio.gather(signal, cancel)


async def test_a_signal_that_could_not_be_stored_is_told_to_nobody(ledger: Ledger, store: ShakyStore) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    pull = asyncio.create_task(worker.pull())
    await settled()
    store.down = True
    with pytest.raises(Unavailable):
        await ledger.signal("", claim.task.id, "go", "1")
    store.down = False
    await settled()
    assert not pull.done()

    await ledger.signal("", claim.task.id, "go", "2")

    ((_, news),) = (await asyncio.wait_for(pull, 2)).news
    assert news == (SignalSent(0, "go", "2"),)
