"""How a task ends in the ledger, or goes back to its queue: retries, cancels, and deaths of workers."""

from __future__ import annotations

import asyncio
import json

import pytest

from cluster.claims import Ending, Verdict
from cluster.errors import Conflict
from cluster.ledger import Ledger

from .callers import Caller, held_of, settled
from .making import COMPLETED, ManualClock, hello, report, submission, task


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
