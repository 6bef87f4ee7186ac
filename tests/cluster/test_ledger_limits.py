"""Limits, fair share, deadlines and what a task that waits is told, as the ledger keeps them."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter

import pytest

from cluster import moves
from cluster.claims import Claim, Ending, Verdict
from cluster.errors import Conflict, Expired
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.store import Writes
from cluster.task import Task

from .callers import Caller, ShakyStore, running, settled, started
from .making import COMPLETED, ManualClock, hello, report, submission, task


async def given(pull: asyncio.Task[tuple[Claim, ...]]) -> list[Claim]:
    """What a pull has brought by now."""
    await settled()
    return list(pull.result()) if pull.done() else []


async def until_ended(ledger: Ledger, id: str) -> Task:
    found = await ledger.task("", id, 2)
    assert found is not None
    return found


async def test_no_more_tasks_of_a_key_run_than_its_concurrency(ledger: Ledger) -> None:
    await ledger.set_rule(Rule("", "k", concurrency=2))
    await ledger.submit(submission(*(task(limit_key="k") for _ in range(5)), task()))
    worker = Caller(ledger, hello(slots=8))

    claims = await worker.claims()

    assert Counter(claim.task.limit_key for claim in claims) == {"k": 2, "default": 1}
    first = next(claim for claim in claims if claim.task.limit_key == "k")
    await worker.report(report(first, 1, verdict=COMPLETED))
    assert [claim.task.limit_key for claim in worker.given] == ["k"]


async def test_a_limit_of_an_agent_counts_all_its_keys(ledger: Ledger) -> None:
    await ledger.set_rule(Rule("", "agent:echo", concurrency=3))
    await ledger.submit(submission(*(task(limit_key=f"k{n}") for n in range(6))))

    assert len(await Caller(ledger, hello()).claims()) == 3


async def test_a_paused_agent_starts_nothing_until_it_is_resumed(ledger: Ledger) -> None:
    await ledger.pause("echo", math.inf)
    await ledger.submit(submission())
    pull = asyncio.create_task(Caller(ledger, hello()).claims())
    assert await given(pull) == []

    await ledger.pause("echo", None)

    assert len(await pull) == 1


async def test_a_pause_ends_by_itself(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.set_rule(Rule("", "default", paused_until=clock.time + 100))
    await ledger.submit(submission())
    pull = asyncio.create_task(Caller(ledger, hello()).claims())
    assert await given(pull) == []

    clock.advance(100.1)

    assert len(await pull) == 1


async def test_a_clock_that_is_set_back_holds_no_key_until_it_has_caught_up(ledger: Ledger, clock: ManualClock) -> None:
    await ledger.set_rule(Rule("", "default", rate_count=1, rate_seconds=60.0))
    await ledger.submit(submission(task(), task()))
    worker = Caller(ledger, hello())
    await worker.claims()
    pull = asyncio.create_task(worker.claims())
    assert await given(pull) == []

    clock.advance(-3600)

    assert len(await pull) == 1


async def test_a_rate_holds_over_a_restart_of_the_ledger(store: ShakyStore, clock: ManualClock) -> None:
    async with running(store, clock) as first:
        await first.set_rule(Rule("", "default", rate_count=2, rate_seconds=60.0))
        await first.submit(submission(*(task() for _ in range(5))))
        assert len(await Caller(first, hello("w1")).claims()) == 2

    async with running(store, clock) as second:
        pull = asyncio.create_task(Caller(second, hello("w2")).claims())
        assert await given(pull) == []
        clock.advance(30.1)
        assert len(await pull) == 1


async def test_a_new_limit_takes_hold_and_lets_go_at_once(ledger: Ledger) -> None:
    await ledger.set_rule(Rule("", "default", concurrency=0))
    await ledger.submit(submission(task(), task()))
    pull = asyncio.create_task(Caller(ledger, hello()).claims())
    assert await given(pull) == []

    await ledger.set_rule(Rule("", "default", concurrency=1))

    assert len(await pull) == 1


async def test_one_keys_backlog_delays_another_by_a_turn_at_most(ledger: Ledger) -> None:
    await ledger.submit(submission(*(task(limit_key="big") for _ in range(500))))
    worker = Caller(ledger, hello(slots=1))
    held = await worker.claim()
    await ledger.submit(submission(*(task(limit_key="small") for _ in range(10))))

    keys = []
    for _ in range(20):
        await worker.report(report(held, 1, verdict=COMPLETED))
        held = await worker.claim()
        keys.append(held.task.limit_key)

    assert keys.count("small") == 10


async def test_weights_share_the_claims(ledger: Ledger) -> None:
    await ledger.set_rule(Rule("", "gold", weight=3.0))
    await ledger.submit(submission(*(task(limit_key=key) for key in ("gold", "tin") for _ in range(100))))

    claims = await Caller(ledger, hello(slots=40)).claims()

    assert Counter(claim.task.limit_key for claim in claims) == {"gold": 30, "tin": 10}


async def test_a_task_past_its_deadline_fails_without_a_run(ledger: Ledger, clock: ManualClock) -> None:
    one = task(deadline=clock.time + 10)
    await ledger.submit(submission(one))

    clock.advance(10.1)
    ended = await until_ended(ledger, one.id)

    assert (ended.state, ended.attempts) == ("failed", 0)
    assert '"type": "expired"' in (ended.error or "")
    with pytest.raises(Conflict, match="deadline"):
        await ledger.retry("", one.id)


async def test_a_task_that_expires_between_two_attempts_tells_the_error_of_the_last(
    ledger: Ledger, clock: ManualClock
) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker, deadline=clock.time + 10)
    failed = {"type": "error", "title": "E", "detail": "why", "step": None, "attempt": 1}
    again = Verdict(Ending.RETRY, retry_at=clock.time + 60, error=json.dumps(failed))
    await worker.report(report(claim, 1, verdict=again))

    clock.advance(10.1)
    ended = await until_ended(ledger, claim.task.id)

    page = await ledger.events("", claim.task.id, 0, 0)
    assert page is not None
    (end,) = page.events
    told = json.loads(end.data)["error"]
    assert told == json.loads(ended.error or "")
    assert (told["type"], told["attempt"], told["cause"]) == ("expired", 1, failed)


async def test_a_task_that_is_canceled_between_two_attempts_keeps_the_error_of_the_last(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await worker.report(report(claim, 1, verdict=Verdict(Ending.RETRY, retry_at=2_000_000.0, error='{"type":"E"}')))

    canceled = await ledger.cancel("", claim.task.id)
    await ledger.retry("", claim.task.id)
    await worker.claim()

    page = await ledger.events("", claim.task.id, 0, 0)
    assert canceled is not None
    assert page is not None
    assert (canceled.state, canceled.error) == ("canceled", '{"type":"E"}')
    assert [(event.type, json.loads(event.data).get("error")) for event in page.events] == [
        ("canceled", None),
        ("attempt.started", {"type": "E"}),
    ]


async def test_a_submission_sent_again_after_its_deadline_was_accepted_all_the_same(
    ledger: Ledger, clock: ManualClock
) -> None:
    sent = submission(task(deadline=clock.time + 10))
    await ledger.submit(sent)
    clock.advance(11)

    assert (await ledger.submit(sent)).replayed
    with pytest.raises(Expired):
        await ledger.submit(submission(task(deadline=clock.time)))


async def test_a_task_that_is_found_past_its_deadline_is_not_started(store: ShakyStore, clock: ManualClock) -> None:
    late, other = task(deadline=clock.time + 10, priority=9), task()
    async with running(store, clock) as first:
        await first.submit(submission(late, other))
    clock.advance(10)  # while no ledger is there

    async with running(store, clock) as second:
        claim = await Caller(second, hello(slots=1)).claim()
        ended = await until_ended(second, late.id)

    assert claim.task.id == other.id
    assert (ended.state, ended.attempts) == ("failed", 0)


async def test_why_a_task_waits(ledger: Ledger, clock: ManualClock) -> None:
    tasks = [task(), task(), task(run_at=clock.time + 50), task(limit_key="k"), task(agent="nobody")]
    await ledger.set_rule(Rule("", "k", concurrency=0))
    await ledger.submit(submission(*tasks))
    pull = asyncio.create_task(Caller(ledger, hello(slots=0)).pull())
    await settled()

    reasons = [await ledger.why("", each.id) for each in tasks]

    assert [why and (why.reason, why.limit_key, why.place) for why in reasons] == [
        ("queue", "default", 1),
        ("queue", "default", 2),
        ("run_at", None, None),
        ("concurrency", "k", 1),
        ("no_worker", "default", 1),
    ]
    assert reasons[2] is not None
    assert reasons[2].until == clock.time + 50
    pull.cancel()


async def test_a_running_task_and_another_tenants_have_no_why(ledger: Ledger) -> None:
    one = task()
    await ledger.submit(submission(one))
    assert await ledger.why("other", one.id) is None
    await Caller(ledger, hello()).claims()

    assert await ledger.why("", one.id) is None


async def test_a_dead_letter_keeps_every_error_and_can_be_retried(ledger: Ledger) -> None:
    one = task(max_attempts=2)
    await ledger.submit(submission(one))
    worker = Caller(ledger, hello())
    for number in (1, 2, 3):
        claim = await worker.claim()
        error = f'{{"type":"error","title":"E","detail":"{number}","step":null,"attempt":{number}}}'
        await worker.report(report(claim, 1, verdict=Verdict(Ending.RETRY, error=error)))
        if number == 2:
            dead = await ledger.retry("", one.id)
            assert dead is not None
            assert (dead.state, dead.input, dead.attempts) == ("queued", one.input, 2)
    claim = await worker.claim()
    assert claim.task.attempts == 4
    await worker.report(report(claim, 1, verdict=COMPLETED))

    page = await ledger.events("", one.id, -1, 0)

    assert page is not None
    assert [event.seq for event in page.events] == list(range(len(page.events)))
    kinds = [event.type for event in page.events]
    assert kinds == [*["attempt.started"] * 2, "failed", *["attempt.started"] * 2, "output"]
    errors = [json.loads(event.data).get("error", {}).get("detail") for event in page.events]
    assert errors == [None, "1", "2", "2", "3", None]


async def test_a_tick_takes_up_no_more_than_its_share_and_the_rest_comes_next(
    ledger: Ledger, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "TICK", 10)
    store.gate.clear()
    first = asyncio.create_task(ledger.submit(submission()))
    await settled()
    sizes: list[int] = []
    commit = store.commit

    async def watched(writes: Writes) -> None:
        sizes.append(len(writes.new))
        await commit(writes)

    monkeypatch.setattr(store, "commit", watched)
    batches = [ledger.submit(submission(*(task() for _ in range(size)))) for size in (6, 4, 1, 25, 3)]
    waiting = [asyncio.create_task(batch) for batch in batches]
    await settled()
    store.gate.set()

    await asyncio.gather(first, *waiting)

    assert sizes == [10, 1, 25, 3]


async def test_a_held_suspect_does_not_hold_up_anothers(ledger: Ledger) -> None:
    await ledger.submit(submission(task(limit_key="a", isolated=1), task(limit_key="b", isolated=1)))
    await ledger.set_rule(Rule("", "a", concurrency=0))

    assert (await Caller(ledger, hello()).claim()).task.limit_key == "b"
