"""Both sides of each race that something fences, forced: one move before the other, in one tick and in two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.ids import new_id
from cluster.claims import LEASE, Claim, Ending, Picture, Verdict
from cluster.errors import Conflict
from cluster.ledger import Ledger

from .callers import Caller, ShakyStore, held_of, pass_by, settled, started, state
from .making import COMPLETED, ManualClock, hello, report, step, submission, task

CANCELED = Verdict(Ending.CANCELED)
FAILED = Verdict(Ending.FAILED, error='{"type":"permanent"}')

Move = Callable[[], Awaitable[Any]]

in_one_tick_and_in_two = pytest.mark.parametrize("together", [True, False], ids=["one tick", "two ticks"])


async def one_after_the_other(store: ShakyStore, ledger: Ledger, together: bool, *moves: Move) -> list[Any]:
    """What the moves bring, or raise, in this order; `together`: in one tick, which waits behind another's commit."""
    if not together:
        return [(await asyncio.gather(move(), return_exceptions=True))[0] for move in moves]
    store.gate.clear()
    ahead = asyncio.create_task(ledger.submit(submission(task(agent="other"))))
    await settled()
    commits, made = store.commits, []
    for move in moves:
        made.append(asyncio.ensure_future(move()))
        await settled()
    store.gate.set()
    await ahead
    outcomes = await asyncio.gather(*made, return_exceptions=True)
    assert store.commits <= commits + 2, "they shared a tick"
    return outcomes


async def ends(ledger: Ledger, claim: Claim) -> list[str]:
    """The events of its ends."""
    page = await ledger.events("", claim.task.id, -1, 0)
    assert page is not None
    return [event.type for event in page.events if event.type in ("output", "failed", "canceled")]


@in_one_tick_and_in_two
@pytest.mark.parametrize("first", ["cancel", "result"])
async def test_a_cancel_and_a_result(ledger: Ledger, store: ShakyStore, first: str, together: bool) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    moves: dict[str, Move] = {
        "cancel": lambda: ledger.cancel("", claim.task.id),
        "result": lambda: worker.report(report(claim, 1, verdict=COMPLETED)),
    }
    second = "result" if first == "cancel" else "cancel"

    _, late = await one_after_the_other(store, ledger, together, moves[first], moves[second])

    assert (await state(ledger, claim.task.id)).state == "completed", "a cancel is a wish; the first verdict decides"
    assert await ends(ledger, claim) == ["output"]
    assert isinstance(late, Conflict) == (first == "result")


@in_one_tick_and_in_two
async def test_a_confirmed_cancel_and_a_late_result(ledger: Ledger, store: ShakyStore, together: bool) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await ledger.cancel("", claim.task.id)

    _, late = await one_after_the_other(
        store,
        ledger,
        together,
        lambda: worker.report(report(claim, 1, verdict=CANCELED)),
        lambda: worker.report(report(claim, 2, step(), verdict=COMPLETED)),
    )

    assert late == [held_of(claim)]
    assert (await state(ledger, claim.task.id)).output is None
    assert await ends(ledger, claim) == ["canceled"]
    assert await ledger.steps("", claim.task.id) == []


@in_one_tick_and_in_two
async def test_a_cancel_and_a_claim(ledger: Ledger, store: ShakyStore, together: bool) -> None:
    """A pull is parked, so what is queued at the end of a tick is claimed in it: in one tick the cancel is first."""
    worker, one = Caller(ledger, hello()), task()
    pull = asyncio.create_task(worker.pull())
    await settled()

    moves: list[Move] = [lambda: ledger.submit(submission(one)), lambda: ledger.cancel("", one.id)]
    await one_after_the_other(store, ledger, together, *moves)
    await settled()

    found = await ledger.task("", one.id)
    assert found is not None
    if together:
        assert (found.state, found.fence, pull.done()) == ("canceled", 0, False)
        pull.cancel()
    else:
        (claim,) = (await pull).claims
        assert (found.state, found.cancel_requested_at is not None) == ("running", True)
        assert await worker.report(report(claim, 1, verdict=CANCELED)) == []
        assert await ends(ledger, claim) == ["canceled"]


@pytest.mark.slow
async def test_a_deadline_that_passes_while_the_claim_is_committed_is_its_workers(
    ledger: Ledger, store: ShakyStore, clock: ManualClock
) -> None:
    worker = Caller(ledger, hello())
    pull = asyncio.create_task(worker.pull())
    await settled()
    store.gate.clear()
    submitted = asyncio.create_task(ledger.submit(submission(task(deadline=clock.time + 5))))
    await settled()

    clock.advance(6)
    store.gate.set()
    await submitted
    (claim,) = (await pull).claims
    await asyncio.sleep(0.6)  # in which the ledger looks for what is overdue

    assert (await state(ledger, claim.task.id)).state == "running"
    assert await worker.report(report(claim, 1, verdict=COMPLETED)) == []
    assert (await state(ledger, claim.task.id)).state == "completed"


async def test_a_deadline_that_passes_before_the_claim_leaves_nothing_to_claim(
    ledger: Ledger, clock: ManualClock
) -> None:
    one = task(deadline=clock.time + 5)
    await ledger.submit(submission(one))
    clock.advance(6)

    pull = asyncio.create_task(Caller(ledger, hello()).pull())
    ended = await ledger.task("", one.id, wait=5)

    assert ended is not None
    assert (ended.state, ended.fence) == ("failed", 0)
    assert not pull.done()
    pull.cancel()


@in_one_tick_and_in_two
@pytest.mark.parametrize("first", ["lost", "result"])
async def test_a_workers_loss_and_its_result(ledger: Ledger, store: ShakyStore, first: str, together: bool) -> None:
    worker, next_one = Caller(ledger, hello("w1")), Caller(ledger, hello("w2"))
    claim = await started(ledger, worker)
    moves: dict[str, Move] = {
        "lost": lambda: ledger.worker_lost("w1", fault=True),
        "result": lambda: worker.report(report(claim, 1, step(), verdict=COMPLETED)),
    }
    second = "result" if first == "lost" else "lost"

    outcomes = await one_after_the_other(store, ledger, together, moves[first], moves[second])

    if first == "result":
        assert (await state(ledger, claim.task.id)).state == "completed"
        assert outcomes[0] == []
    else:
        assert outcomes[1] == [held_of(claim)]
        again = await next_one.claim()
        assert (again.task.id, again.task.fence, again.journal) == (claim.task.id, 2, ())
        assert await next_one.report(report(again, 1, verdict=COMPLETED)) == []
    assert await ends(ledger, claim) == ["output"]


@pytest.mark.parametrize("first", ["beat", "expiry"])
async def test_a_heartbeat_and_the_end_of_its_lease(ledger: Ledger, clock: ManualClock, first: str) -> None:
    worker, in_time = Caller(ledger, hello()), first == "beat"
    claim = await started(ledger, worker)
    await pass_by(ledger, clock, LEASE - 0.1)
    if in_time:
        assert await worker.beat(claim) == []
    await pass_by(ledger, clock, 0.5)

    assert await worker.beat(claim) == ([] if in_time else [held_of(claim)])
    assert await worker.report(report(claim, 1, verdict=COMPLETED)) == ([] if in_time else [held_of(claim)])
    assert (await state(ledger, claim.task.id)).state == ("completed" if in_time else "running"), "it is claimed anew"


@pytest.mark.parametrize("commits", [True, False], ids=["it commits", "it fails"])
@pytest.mark.parametrize("move", ["cancel", "result"])
async def test_a_heartbeat_and_a_move_that_is_not_committed_yet(
    ledger: Ledger, store: ShakyStore, move: str, commits: bool
) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    store.gate.clear()
    moves: dict[str, Move] = {
        "cancel": lambda: ledger.cancel("", claim.task.id),
        "result": lambda: worker.report(report(claim, 1, verdict=COMPLETED)),
    }
    moved = asyncio.ensure_future(moves[move]())
    await settled()

    told = asyncio.ensure_future(ledger.beat("w1", Picture(worker.call, (), (held_of(claim),))))
    await settled()
    store.down = not commits
    store.gate.set()
    await asyncio.wait([moved])
    store.down = False

    found, expected = await told, (held_of(claim),) if commits else ()
    assert (found.cancels if move == "cancel" else found.lost) == expected
    assert (moved.exception() is None) == commits


@in_one_tick_and_in_two
@pytest.mark.parametrize("first", ["signal", "result"])
async def test_a_signal_and_a_result(ledger: Ledger, store: ShakyStore, first: str, together: bool) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    moves: dict[str, Move] = {
        "signal": lambda: ledger.signal("", claim.task.id, "go", "1"),
        "result": lambda: worker.report(report(claim, 1, verdict=COMPLETED)),
    }
    second = "result" if first == "signal" else "signal"

    _, late = await one_after_the_other(store, ledger, together, moves[first], moves[second])

    found = await state(ledger, claim.task.id)
    assert (found.state, found.signals) == ("completed", int(first == "signal"))
    assert isinstance(late, Conflict) == (first == "result")


@in_one_tick_and_in_two
@pytest.mark.parametrize("first", ["retry", "late result"])
async def test_a_retry_by_hand_and_the_late_result_of_the_claim_before(
    ledger: Ledger, store: ShakyStore, first: str, together: bool
) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=FAILED))
    moves: dict[str, Move] = {
        "retry": lambda: ledger.retry("", claim.task.id),
        "late result": lambda: worker.report(report(claim, 2, step(), verdict=COMPLETED)),
    }
    second = "late result" if first == "retry" else "retry"

    outcomes = await one_after_the_other(store, ledger, together, moves[first], moves[second])
    again = await worker.claim()

    assert [held_of(claim)] in outcomes
    assert (again.task.fence, again.task.attempts, again.journal) == (2, 2, ())
    assert await worker.report(report(claim, 3, verdict=COMPLETED)) == [held_of(claim)]
    assert await worker.report(report(again, 1, verdict=COMPLETED)) == []
    assert await ends(ledger, claim) == ["failed", "output"]


@in_one_tick_and_in_two
@pytest.mark.parametrize("first", ["retry", "cancel"])
async def test_a_retry_and_a_cancel(ledger: Ledger, store: ShakyStore, first: str, together: bool) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=FAILED))
    moves: dict[str, Move] = {
        "retry": lambda: ledger.retry("", claim.task.id),
        "cancel": lambda: ledger.cancel("", claim.task.id),
    }
    second = "cancel" if first == "retry" else "retry"

    early, _ = await one_after_the_other(store, ledger, together, moves[first], moves[second])

    assert isinstance(early, Conflict) == (first == "cancel"), "what has failed cannot be canceled"
    assert (await state(ledger, claim.task.id)).state == ("canceled" if first == "retry" else "queued")


@in_one_tick_and_in_two
@pytest.mark.parametrize("first", ["record", "fork"])
async def test_a_fork_and_a_record(ledger: Ledger, store: ShakyStore, first: str, together: bool) -> None:
    worker, forked = Caller(ledger, hello()), new_id()
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, step("first"), step("second")))
    moves: dict[str, Move] = {
        "record": lambda: worker.report(report(claim, 2, step("third"))),
        "fork": lambda: ledger.fork("", claim.task.id, "second#0", new_id=forked, input=None, version="v1"),
    }
    second = "fork" if first == "record" else "record"

    await one_after_the_other(store, ledger, together, moves[first], moves[second])

    kept, own = await ledger.steps("", forked), await ledger.steps("", claim.task.id)
    assert [found.name for found in kept or ()] == ["first"]
    assert [found.name for found in own or ()] == ["first", "second", "third"]
