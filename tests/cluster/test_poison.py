"""Tasks that may have taken their worker down run alone, whoever else dies meanwhile."""

from __future__ import annotations

import asyncio

from cluster.claims import LEASE
from cluster.ledger import Ledger
from cluster.limits import Rule

from .callers import Caller, ShakyStore, pass_by, running, settled
from .making import COMPLETED, ManualClock, hello, report, submission, task


async def suspects(ledger: Ledger, number: int) -> None:
    """So many tasks that a worker has died on."""
    await ledger.submit(submission(*[task() for _ in range(number)]))
    await Caller(ledger, hello("dead")).claims()
    await ledger.worker_lost("dead", fault=True)


async def test_a_task_that_runs_alone_does_so_after_a_restart_of_the_ledger(
    store: ShakyStore, clock: ManualClock
) -> None:
    async with running(store, clock) as first:
        await suspects(first, 1)
        worker = Caller(first, hello("w1"))
        held = await worker.claim()
        assert held.task.isolated

    async with running(store, clock) as second:
        worker.ledger = second
        await second.submit(submission())
        pull = asyncio.create_task(worker.pull())
        await settled()

        assert not pull.done(), "nothing else runs beside it"
        await worker.report(report(held, 1, verdict=COMPLETED))
        assert worker.given or (await pull).claims


async def test_a_worker_that_vanished_unseen_keeps_no_suspect_waiting(ledger: Ledger, clock: ManualClock) -> None:
    await suspects(ledger, 2)
    frozen = Caller(ledger, hello("frozen"))
    assert (await frozen.claim()).task.isolated
    await pass_by(ledger, clock, LEASE + 1)  # it says nothing more, and nobody declares it lost

    other = Caller(ledger, hello("w2"))
    for _ in range(2):
        claim = await other.claim()
        assert claim.task.isolated
        await other.report(report(claim, 1, verdict=COMPLETED))


async def test_a_worker_that_was_heard_without_a_claim_has_not_died_of_it(ledger: Ledger, clock: ManualClock) -> None:
    await suspects(ledger, 1)
    worker = Caller(ledger, hello("w1"))
    lost = await worker.claim()
    await worker.beat(open=(worker.call,))  # what answers that call may be on its way still, and never comes
    await pass_by(ledger, clock, LEASE + 1)

    claim = await Caller(ledger, hello("w2")).claim()

    assert (claim.task.isolated, claim.task.attempts) == (1, lost.task.attempts)


async def test_a_suspect_whose_key_is_held_keeps_no_other_waiting(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.submit(submission(task(limit_key="paused"), task(limit_key="other")))
    await Caller(ledger, hello("dead")).claims()
    await ledger.set_rule(Rule("", "paused", paused_until=clock.time + 3600))
    await ledger.worker_lost("dead", fault=True)

    claim = await Caller(ledger, hello("w1")).claim()

    assert (claim.task.limit_key, claim.task.isolated) == ("other", 1)


async def test_a_suspect_past_its_deadline_does_not_start(ledger: Ledger, clock: ManualClock) -> None:
    first, second = task(deadline=clock.time + 10), task()
    await ledger.submit(submission(first, second))
    await Caller(ledger, hello("dead")).claims()
    await ledger.worker_lost("dead", fault=True)
    clock.advance(10)

    assert (await Caller(ledger, hello("w1")).claim()).task.id == second.id

    ended = await ledger.task("", first.id)
    assert ended is not None
    assert (ended.state, '"type": "expired"' in (ended.error or "")) == ("failed", True)
