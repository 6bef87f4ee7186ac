"""What the ledger says of each line's demand, from memory."""

from __future__ import annotations

import pytest

from agents import Resources
from cluster.claims import Ending, Hello, Verdict
from cluster.client import Demand
from cluster.demand import nearest
from cluster.lanes import Lane, line
from cluster.ledger import Ledger

from .callers import Caller, ShakyStore, pass_by, running, started
from .making import AGENT, COMPLETED, ManualClock, hello, report, submission, task, waiting

GPU = Lane(shape=Resources(gpus=1)).text


async def of(ledger: Ledger, lane: str = "") -> Demand:
    return next(each for each in await ledger.demand() if (each.agent, each.lane) == (AGENT, lane))


async def test_a_line_is_told_with_what_it_has_and_how_it_fares(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, hello(slots=1))
    held = await started(ledger, worker)
    await ledger.submit(
        submission(
            *(task(created_at=clock.time - 7), task(created_at=clock.time), task(run_at=clock.time + 3600)),
            *(task(created_at=clock.time - 3, lane=GPU, deadline=clock.time + 9), task(lane=GPU)),
        )
    )
    await pass_by(ledger, clock, 2)

    plain, gpu = await of(ledger), await of(ledger, GPU)

    assert (plain.queued, plain.running, plain.waiting, plain.oldest, plain.service) == (2, 1, 0, 9.0, None)
    assert (gpu.queued, gpu.running, gpu.oldest, gpu.deadlines) == (2, 0, 5.0, ((clock.time + 7, 1),))
    await worker.report(report(held, 1, verdict=waiting(signals=("go",))))
    plain = await of(ledger)
    assert (plain.queued, plain.running, plain.waiting, plain.service) == (1, 1, 1, 2.0)
    assert plain.claims > 0


async def test_what_moves_counts_where_it_is(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    held = await started(ledger, worker)

    await worker.report(report(held, 1, verdict=Verdict(Ending.MOVED, lane=GPU)))
    queued = await of(ledger), await of(ledger, GPU)
    there = Caller(ledger, Hello("g1", "gpu1", {AGENT: 1}, {AGENT: (line(AGENT, GPU),)}))
    claim = await there.claim()
    running = await of(ledger), await of(ledger, GPU)
    await there.report(report(claim, 1, verdict=COMPLETED))

    assert [(each.queued, each.running) for each in (*queued, *running)] == [(0, 0), (1, 0), (0, 0), (0, 1)]
    assert (await of(ledger, GPU))[2:5] == (0, 0, 0)


async def test_a_ledger_that_starts_again_knows_its_lanes(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as first:
        await first.submit(submission(task(lane=GPU), task(lane=GPU), task()))
        await Caller(first, Hello("g1", "gpu1", {AGENT: 1}, {AGENT: (line(AGENT, GPU),)})).claim()

    async with running(store, clock) as second:
        await second.counts()
        gpu, plain = await of(second, GPU), await of(second)

    assert (gpu.queued, gpu.running, plain.queued, plain.running) == (1, 1, 1, 0)


async def test_more_than_is_in_memory_is_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.windows.WINDOW", 4)

    await ledger.submit(submission(*[task() for _ in range(10)], task(lane=GPU)))

    assert ((await of(ledger)).queued, (await of(ledger, GPU)).queued) == (10, 1)


def test_deadlines_are_told_in_steps_that_double() -> None:
    all = [(101.0, 1), (104.0, 2), (108.0, 1), (109.0, 1), (130.0, 4), (139.0, 1), (1000.0, 1)]

    assert nearest(all, 100.0) == ((101.0, 3), (108.0, 2), (130.0, 5), (1000.0, 1))
    assert nearest([], 100.0) == ()
