"""A fork is a new task that goes on from a step of another, as the ledger makes it."""

from __future__ import annotations

import pytest

from agents.events import Emitted
from cluster.claims import Ending, Verdict
from cluster.errors import Conflict
from cluster.ledger import Ledger

from .callers import Caller, started
from .making import COMPLETED, hello, report, step


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
