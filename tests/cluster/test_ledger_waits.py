"""Waits, signals, families and forks, as the ledger keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agents.events import Emitted
from cluster import waits
from cluster.claims import Called, Claim, Ending, SignalSent, Verdict
from cluster.errors import Conflict, Unavailable
from cluster.ledger import Ledger
from cluster.task import Origin, Task
from cluster.waits import Waits

from .callers import Caller, ShakyStore, opened, running, settled
from .making import COMPLETED, ManualClock, hello, report, step, submission, task


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


def waiting(ran: float = 1.0, heard: int = 0, **on: object) -> Verdict:
    return Verdict(Ending.WAITING, waiting_on=waits.write(Waits(**on)), ran=ran, heard=heard)  # type: ignore[arg-type]


def called(id: str, name: str = "call echo", key: str = "#0", group: str = "") -> Called:
    return Called(id, "echo", "v1", "1", 3, 60.0, Origin(name, key, "d", group or name + key, 1))


async def started(ledger: Ledger, worker: Caller, **changes: object) -> Claim:
    await ledger.submit(submission(task(**changes)))
    return await worker.claim()


async def state(ledger: Ledger, id: str) -> Task:
    found = await ledger.task("", id)
    assert found is not None
    return found


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


async def test_a_canceled_wait_ends_at_once(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=waiting(signals=("go",))))

    ended = await ledger.cancel("", claim.task.id)

    assert ended is not None
    assert ended.state == "canceled"
    assert (await ledger.counts()).tasks["echo"] == {"queued": 0, "running": 0, "waiting": 0, "canceled": 1}


async def test_a_fork_goes_on_from_the_step_it_names(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    names = ("a", "b", "c")
    await worker.report(report(claim, 1, *(step(name) for name in names), verdict=COMPLETED))

    forked = await ledger.fork("", claim.task.id, "c#0", new_id="f1", input="2", version="v2")
    twice = await ledger.fork("", claim.task.id, "c#0", new_id="f1", input="2", version="v2")
    again = await worker.claim()

    assert forked is not None
    assert twice is not None
    assert (forked.input, forked.version, twice.id) == ("2", "v2", "f1")
    assert [record.id.name for record in again.journal] == ["a", "b"]
    await worker.report(report(again, 1, step("c"), verdict=COMPLETED))
    page = await ledger.events("", "f1", -1, 0)
    assert page is not None
    assert [event.seq for event in page.events] == list(range(5))
    assert [event.type for event in page.events][2:] == ["attempt.started", "step.completed", "output"]
    with pytest.raises(Conflict, match="it has: a#0, b#0, c#0"):
        await ledger.fork("", claim.task.id, "d#0", new_id="f2", input=None, version="v")
    assert await ledger.fork("", "nothing", "a#0", new_id="f3", input=None, version="v") is None


async def test_a_dead_worker_under_a_resumed_run_costs_no_attempt(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello("w1"))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=waiting(until=clock.time + 1)))
    clock.advance(2)
    await worker.claim()

    await ledger.worker_lost("w1", fault=False)
    again = await Caller(ledger, hello("w2")).claim()

    assert (again.task.attempts, again.task.fence) == (1, 3)


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


async def test_a_signal_that_the_run_took_does_not_wake_its_next_wait(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await ledger.signal("", claim.task.id, "go", "1")
    await ledger.signal("", claim.task.id, "stop", "2")
    took = step("signal go")._replace(signal=0)

    await worker.report(report(claim, 1, took, verdict=waiting(heard=1, signals=("go",))._replace(ends=())))
    await settled()

    assert (await state(ledger, claim.task.id)).state == "waiting"


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


async def test_a_fork_may_begin_at_the_step_that_failed_or_left_no_result(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    begun = Emitted("step.started", "charge#0", 1.0, "{}")
    error = '{"type": "step_error", "step": "send#0"}'
    await worker.report(report(claim, 1, step("plan"), begun, verdict=Verdict(Ending.FAILED, error=error)))

    for number, name in enumerate(["charge#0", "send#0"]):
        await ledger.fork("", claim.task.id, name, new_id=f"f{number}", input=None, version="v1")
        again = await worker.claim()
        assert [record.id.name for record in again.journal] == ["plan"]
        assert again.started == ()
    with pytest.raises(Conflict, match="it has: plan#0"):
        await ledger.fork("", claim.task.id, "other#0", new_id="f9", input=None, version="v1")


async def test_a_running_child_hears_of_its_trees_cancel_at_once(ledger: Ledger) -> None:
    worker, other = Caller(ledger, hello("w1", slots=1)), Caller(ledger, hello("w2", slots=1))
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, called("c1")))
    await other.claim()
    pull = asyncio.create_task(other.pull())
    await settled()

    await ledger.cancel("", claim.task.id)

    assert [held[1] for held in (await asyncio.wait_for(pull, 2)).cancels] == ["c1"]


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
