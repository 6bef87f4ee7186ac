"""A store that another cluster takes: what was held keeps its lease, and who has lost the store says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from agents import Context
from cluster.claims import AWAY, LEASE, MARGIN, Beat, Claim, Picture
from cluster.errors import Superseded, Unavailable
from cluster.task import State
from cluster.worker import Worker

from .callers import Caller, ShakyStore, held_of, pass_by, running, settled, state
from .direct import Direct, ticking
from .making import COMPLETED, ManualClock, hello, report, step, submission, task
from .workers import Deaths, Given, Scripted, pace, slow


async def held(
    store: ShakyStore, clock: ManualClock, *changes: Mapping[str, object]
) -> tuple[Caller, tuple[Claim, ...]]:
    """A worker of a ledger that has ended, with a claim of a task for each of these; and another has the store."""
    async with running(store, clock, shared=True) as first:
        await first.submit(submission(*[task(**each) for each in changes or ({},)]))
        worker = Caller(first, hello("old"))
        claims = await worker.claims()
        await worker.report(*[report(claim, 1, step()) for claim in claims])
    owner = store.take()
    await store.open(owner.store_id, owner.generation)
    return worker, claims


async def test_they_keep_their_leases_then_go_back_together_uncounted(store: ShakyStore, clock: ManualClock) -> None:
    once = {"max_attempts": 1}
    old, claims = await held(store, clock, once, once)

    async with running(store, clock, fresh=True, shared=True) as second:
        new = Caller(second, hello("new"))
        pull = asyncio.create_task(new.claims())
        await pass_by(second, clock, LEASE - 0.5)
        assert await second.holders() == {f"{AWAY}old": 2}
        old.ledger = second
        assert await old.report(*[report(claim, 2, verdict=COMPLETED) for claim in claims]) == list(
            map(held_of, claims)
        )
        assert await old.beat(*claims) == list(map(held_of, claims))
        assert not pull.done()

        await pass_by(second, clock, 1.0)
        again = await pull

        assert [(claim.task.attempts, claim.task.isolated, claim.task.fence) for claim in again] == [(1, 0, 2)] * 2
        assert [[str(record.id) for record in claim.journal] for claim in again] == [["think#0"]] * 2
        assert (await second.figures()).lost_leases == {}
        assert await new.report(*[report(claim, 1, verdict=COMPLETED) for claim in again]) == []


async def test_a_restart_of_the_new_ledger_still_tells_them_from_its_own(store: ShakyStore, clock: ManualClock) -> None:
    _, (claim,) = await held(store, clock)
    async with running(store, clock, fresh=True, shared=True) as second:
        await second.counts()

    async with running(store, clock, shared=True) as third:
        await pass_by(third, clock, LEASE + 0.5)

        (again,) = await Caller(third, hello("new")).claims()
        assert (again.task.id, again.task.attempts, again.task.isolated) == (claim.task.id, 1, 0)


async def test_so_does_a_new_ledger_whose_first_ticks_fail(store: ShakyStore, clock: ManualClock) -> None:
    _, (claim,) = await held(store, clock)
    store.down = True
    async with running(store, clock, fresh=True, shared=True) as second:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await second.submit(submission())
        store.down = False
        mine = Caller(second, hello("mine"))
        await second.submit(submission())
        own = await mine.claim()
        assert await second.holders() == {f"{AWAY}old": 1, "mine": 1}
        await pass_by(second, clock, LEASE - 1)
        store.down = True
        with pytest.raises(Unavailable):
            await second.submit(submission())
        store.down = False

        assert await second.holders() == {f"{AWAY}old": 1, "mine": 1}
        await pass_by(second, clock, 1.5)  # the failure has not lengthened what is left of their leases
        assert await mine.beat(own) == []
        again = await mine.claim()
        assert (again.task.id, again.task.attempts, again.task.isolated) == (claim.task.id, 1, 0)


async def test_one_that_is_to_be_canceled_ends_with_its_lease(store: ShakyStore, clock: ManualClock) -> None:
    _, (claim,) = await held(store, clock)
    async with running(store, clock, fresh=True, shared=True) as second:
        await second.cancel("", claim.task.id)
        await pass_by(second, clock, LEASE - 0.5)
        assert (await state(second, claim.task.id)).state == State.RUNNING

        await pass_by(second, clock, 1.0)

        assert (await state(second, claim.task.id)).state == State.CANCELED


async def test_a_ledger_with_nothing_to_write_notices_that_another_has_the_store(
    store: ShakyStore, clock: ManualClock
) -> None:
    async with running(store, clock, shared=True) as ledger:
        await ledger.submit(submission())
        worker = Caller(ledger, hello())
        claim = await worker.claim()
        store.take()
        assert await worker.beat(claim) == []  # it was asked within moments

        clock.advance(MARGIN / 2)
        with pytest.raises(Unavailable):
            await ledger.counts()  # any tick

        with pytest.raises(Superseded, match="fenced"):
            await worker.beat(claim)


async def test_no_lease_is_renewed_while_another_may_have_the_store(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock, shared=True) as ledger:
        await ledger.submit(submission())
        worker = Caller(ledger, hello())
        claim = await worker.claim()
        store.gate.clear()
        clock.advance(MARGIN)
        looked = asyncio.create_task(ledger.counts())  # a tick, whose commit does not return
        await settled()
        seen = Picture(9, (), (held_of(claim),))

        beat = await ledger.beat("w1", seen)
        store.gate.set()
        await looked

        assert beat == Beat((), unsure=(held_of(claim),), book=beat.book)
        assert await ledger.beat("w1", seen) == Beat((), book=beat.book)


async def test_where_nobody_can_take_it_unnoticed_nothing_is_asked(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as ledger:
        await ledger.submit(submission())
        worker = Caller(ledger, hello())
        claim = await worker.claim()
        commits = store.commits

        for _ in range(5):
            clock.advance(MARGIN)
            await ledger.counts()
            assert await worker.beat(claim) == []

        assert store.commits == commits


async def test_a_worker_whose_ledger_lost_the_store_stops_its_runs_and_ends(
    store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ticks.OWN_SECONDS", 0.01)
    begun, cut = asyncio.Event(), asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        begun.set()
        try:
            return await ctx.step("forever", slow)
        except asyncio.CancelledError:
            cut.set()
            raise

    async with ticking(store, shared=True) as ledger:
        agents = {"scripted": Scripted(script)}
        worker = Worker(hello(agent="scripted"), agents, Direct(ledger), "nowhere", die=Deaths(), pace=pace(beat=0.01))
        run = asyncio.create_task(worker.run())
        accepted = await ledger.submit(submission(task(agent="scripted", input="{}")))
        await begun.wait()
        owner = store.take()

        async with asyncio.timeout(5):
            await cut.wait()
            await run

    await store.open(owner.store_id, owner.generation)
    (left,) = await store.running()
    assert (left.id, left.worker) == (accepted.task_ids[0], "w1")
