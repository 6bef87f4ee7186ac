"""That what is asked of a task under a key happens once, and never to the task of another tenant."""

from __future__ import annotations

import asyncio

import pytest

from agents.ids import new_id
from cluster.claims import Ending, Verdict
from cluster.errors import Conflict
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.task import Filter, Once, Task

from .callers import Caller, ShakyStore, settled
from .making import hello, report, step, submission, task

ONCE = Once("/route", "k", "d1")
OTHER = Once("/route", "k", "d2")  # the same key with another body


async def submitted(ledger: Ledger, tenant: str = "") -> str:
    one = task(tenant=tenant)
    await ledger.submit(submission(one)._replace(tenant=tenant))
    return one.id


async def failed(caller: Caller) -> Task:
    """The next task, after it has failed; it had recorded a step."""
    claim = await caller.claim()
    steps = () if claim.journal else (step("find"),)
    await caller.report(report(claim, 1, *steps, verdict=Verdict(Ending.FAILED, error='{"type":"E"}')))
    return claim.task


async def test_a_signal_sent_again_under_its_key_is_kept_once(ledger: Ledger) -> None:
    id = await submitted(ledger)

    first = await ledger.signal("", id, "go", "1", ONCE)
    again = await ledger.signal("", id, "go", "1", ONCE)
    await ledger.signal("", id, "go", "2", ONCE._replace(key="other"))

    assert first == again
    claim = await Caller(ledger, hello()).claim()
    assert [signal.payload for signal in claim.signals] == ["1", "2"]


async def test_a_signal_sent_twice_at_once_is_kept_once(ledger: Ledger, store: ShakyStore) -> None:
    id = await submitted(ledger)
    store.gate.clear()
    ahead = asyncio.create_task(submitted(ledger))  # a tick that is under way
    await settled()

    both = [asyncio.create_task(ledger.signal("", id, "go", "1", ONCE)) for _ in range(2)]
    await settled()
    store.gate.set()

    first, second = await asyncio.gather(*both)
    assert first is not None
    assert first == second
    assert (first.signals, store.commits) == (1, 3)
    await ahead


async def test_without_a_key_each_signal_is_one_of_its_own(ledger: Ledger) -> None:
    id = await submitted(ledger)

    for _ in range(2):
        found = await ledger.signal("", id, "go", "1")

    assert found is not None
    assert found.signals == 2


async def test_a_key_knows_its_work_even_where_it_could_not_be_done_again(ledger: Ledger) -> None:
    """A signal that was kept is not refused because the task has ended meanwhile."""
    id = await submitted(ledger)
    await ledger.signal("", id, "go", "1", ONCE)
    await ledger.cancel("", id)

    again = await ledger.signal("", id, "go", "1", ONCE)

    assert again is not None
    assert again.state == "canceled"


async def test_a_fork_under_a_key_is_made_once(ledger: Ledger) -> None:
    await submitted(ledger)
    source = await failed(Caller(ledger, hello()))
    ids = [new_id(), new_id()]

    async def fork(once: Once) -> Task | None:
        return await ledger.fork("", source.id, "find#0", new_id=ids[0], input="1", version="v2", once=once)

    first, again = await fork(ONCE), await fork(ONCE)
    with pytest.raises(Conflict):
        await fork(OTHER)

    assert first is not None
    assert first == again
    assert (first.id, first.input, first.version) == (ids[0], "1", "v2")
    assert [found.id for found in await ledger.tasks("", Filter(idempotency_key="k"), None, 10)] == [ids[0]]


async def test_a_retry_under_a_key_is_made_once_however_the_task_has_ended_since(ledger: Ledger) -> None:
    id = await submitted(ledger)
    caller = Caller(ledger, hello())
    await failed(caller)
    await ledger.retry("", id, ONCE)
    await failed(caller)

    again = await ledger.retry("", id, ONCE)
    anew = await ledger.retry("", id, ONCE._replace(key="other"))

    assert again is not None
    assert anew is not None
    assert (again.state, anew.state) == ("failed", "queued")


async def test_a_key_with_another_body_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    id = await submitted(ledger)
    await ledger.signal("", id, "go", "1", ONCE)

    with pytest.raises(Conflict):
        await ledger.signal("", id, "go", "2", OTHER)

    found = await ledger.task("", id)
    assert found is not None
    assert found.signals == 1


async def test_what_was_refused_has_used_no_key(ledger: Ledger) -> None:
    id = await submitted(ledger)
    with pytest.raises(Conflict):
        await ledger.retry("", id, ONCE)
    await failed(Caller(ledger, hello()))

    again = await ledger.retry("", id, ONCE)

    assert again is not None
    assert again.state == "queued"


async def test_a_signals_key_finds_no_task(ledger: Ledger) -> None:
    id = await submitted(ledger)
    await ledger.signal("", id, "go", "1", ONCE)

    assert await ledger.tasks("", Filter(idempotency_key="k"), None, 10) == []


async def test_nothing_of_another_tenant_can_be_seen_or_moved(ledger: Ledger) -> None:
    id = await submitted(ledger, "theirs")
    caller = Caller(ledger, hello())
    source = await failed(caller)
    (batched,) = (task(tenant="theirs", batch_id=new_id()),)
    await ledger.submit(submission(batched)._replace(tenant="theirs", batch_id=batched.batch_id))
    await ledger.set_rule(Rule("theirs", "k", concurrency=1))

    assert await ledger.task("", id) is None
    assert await ledger.events("", id, -1, 0) is None
    assert await ledger.steps("", id) is None
    assert await ledger.why("", batched.id) is None
    assert await ledger.cancel("", batched.id) is None
    assert await ledger.retry("", id, ONCE) is None
    assert await ledger.signal("", batched.id, "go", "1", ONCE) is None
    assert await ledger.fork("", id, "find#0", new_id=new_id(), input=None, version="v", once=ONCE) is None
    assert await ledger.batch("", batched.batch_id or "") is None
    assert await ledger.in_batch("", batched.batch_id or "", "", 10) == []
    assert await ledger.cancel_all("", Filter(agent=source.agent)) == 0
    assert await ledger.retry_all("", Filter(agent=source.agent)) == 0
    assert await ledger.limits("", "", 10) == []
    states = {each.id: each.state for each in await ledger.tasks("theirs", Filter(), None, 10)}
    assert states == {id: "failed", batched.id: "queued"}


async def test_a_key_of_another_tenant_is_another_key(ledger: Ledger) -> None:
    ours, theirs = await submitted(ledger), await submitted(ledger, "theirs")

    for tenant, id in (("", ours), ("theirs", theirs)):
        found = await ledger.signal(tenant, id, "go", "1", ONCE)
        assert found is not None
        assert found.signals == 1
