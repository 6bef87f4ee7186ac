"""What is asked of many tasks at once: each that matches is moved once, whatever happens to it meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from cluster import ledger as ledgers
from cluster import pages
from cluster.claims import Ending, Verdict
from cluster.ledger import Ledger
from cluster.task import Filter, Task

from .callers import Caller, ShakyStore, settled, started, state
from .making import called, hello, report, submission, task, waiting

FAILED = Verdict(Ending.FAILED, error="{}")


async def test_bulk_moves_take_what_matches_and_nothing_else(ledger: Ledger) -> None:
    tagged = [task(tags='["x"]') for _ in range(5)]
    await ledger.submit(submission(*tagged, task(), task(agent="other", tags='["x"]')))
    (claim,) = await Caller(ledger, hello(slots=1)).claims()

    assert await ledger.cancel_all("", Filter(agent="echo", tag="x")) == 5
    assert await ledger.cancel_all("t", Filter(agent="echo")) == 0
    await settled()
    counts = (await ledger.counts()).tasks
    assert counts["echo"]["canceled"] == 4
    assert counts["other"]["queued"] == 1
    stored = await ledger.task("", claim.task.id)
    assert stored is not None
    assert stored.cancel_requested_at is not None

    assert await ledger.retry_all("", Filter(tag="x", state="canceled")) == 4
    assert (await ledger.counts()).tasks["echo"]["queued"] == 5


async def test_large_tasks_are_moved_few_at_once_and_all_of_them(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * len(task().input))
    await ledger.submit(submission(*[task(run_at=2e9) for _ in range(5)]))
    commits = store.commits

    assert await ledger.cancel_all("", Filter(agent="echo")) == 5
    assert store.commits - commits == 3


async def test_all_children_end_with_their_parent_however_large_they_are(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 1)
    worker = Caller(ledger, hello(slots=1))
    parent = await started(ledger, worker)
    await worker.report(report(parent, 1, *[called(f"c{n}", key=f"#{n}") for n in range(4)]))

    await ledger.cancel("", parent.task.id)
    await settled()

    assert (await ledger.counts()).tasks["echo"] == {"canceled": 4, "queued": 0, "running": 1}


@pytest.mark.parametrize("meanwhile", ["its attempt fails", "its wait is over"])
async def test_a_cancel_of_many_misses_none_that_is_queued_again_meanwhile(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker, tags='["x"]')
    if meanwhile == "its wait is over":
        await worker.report(report(claim, 1, verdict=waiting(signals=("go",))))
    look, looks = store.tasks, 0

    async def slow_look(*asked: Any) -> list[Task]:
        nonlocal looks
        found, looks = await look(*asked), looks + 1
        if looks == 1 and meanwhile == "its wait is over":
            await ledger.signal("", claim.task.id, "go", "1")
        elif looks == 1:
            await worker.report(report(claim, 1, verdict=Verdict(Ending.RETRY, error="{}", retry_at=2_000_000.0)))
        return found

    monkeypatch.setattr(store, "tasks", slow_look)

    assert await ledger.cancel_all("", Filter(tag="x")) == 1
    assert (await state(ledger, claim.task.id)).state == "canceled"


async def test_a_retry_of_many_retries_each_once_though_one_fails_again_meanwhile(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "BULK", 1)
    worker = Caller(ledger, hello())
    old, young = task(), task()
    await ledger.submit(submission(old, young))
    for claim in await worker.claims():
        await worker.report(report(claim, 1, verdict=FAILED))
    look = store.tasks

    async def slow_look(tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        if after == young.id:
            await worker.report(report(await worker.claim(), 1, verdict=FAILED))
        return await look(tenant, filter, after, limit)

    monkeypatch.setattr(store, "tasks", slow_look)

    assert await ledger.retry_all("", Filter(agent="echo")) == 2
    assert [(await state(ledger, each.id)).state for each in (old, young)] == ["queued", "failed"]
