"""That a live run goes on as a task without losing a step, whoever asked for that, and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest

from cluster.ledger import Ledger
from cluster.task import Filter
from tests.garbage import garbage

from .ledgers import Direct, Hand, Unreachable
from .walker import Walker, plan
from .walking import LIVE, Make, Slow, accepted, answer, answer_of, call, events_of, ledger, make, queued, until

pytestmark = pytest.mark.slow

__all__ = ["ledger", "make"]


# why a run leaves


async def test_a_caller_who_takes_a_task_gets_it_when_the_wait_is_over(make: Make, ledger: Ledger) -> None:
    late = await answer(make(), "step:a", "slow:b", Prefer="respond-async, wait=0.2")

    id = accepted(late)
    assert (late.json["state"], late.json["attempts"]) == ("running", 1)
    assert late.headers["preference-applied"] == "respond-async, wait=0.2"
    await queued(ledger, id)
    claim = await Hand(Direct(ledger), "walker").take()
    assert [(str(each.id), each.value) for each in claim.journal] == [("a#0", '"A"')]
    assert (claim.task.attempts, json.loads(claim.task.input)) == (1, plan("step:a", "slow:b"))
    assert (await events_of(ledger, id))[:3] == [(0, "attempt.started"), (1, "step.completed"), (2, "promoted")]
    assert Walker.cancelled == ["b"]


async def test_a_run_that_ends_in_time_is_no_task(make: Make, ledger: Ledger) -> None:
    full = await answer(make(), "step:a", Prefer="respond-async, wait=5")

    assert (full.status, full.json, full.headers["answer"]) == (200, ["A"], "full")
    assert full.headers["preference-applied"] == "respond-async, wait=5"
    assert (await ledger.counts()).tasks == {}


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ("promote:worth a wider search", "worth a wider search"),
        ("sleep:60", "waits for sleep"),
        ("signal:approved", "waits for signal approved"),
        ("call", "waits for call other"),
        ("map", "waits for map other"),
        ("gpu:embed", "step 'embed' needs gpus=1"),
    ],
)
async def test_the_run_may_ask_for_it(make: Make, ledger: Ledger, wish: str, reason: str) -> None:
    moved = await answer(make(), "step:a", wish, "step:b", Prefer="respond-async, wait=5")

    id = accepted(moved)
    await queued(ledger, id)
    page = await ledger.events("", id, 1, 0)
    assert page is not None
    assert json.loads(page.events[0].data) == {"reason": reason, "task_id": id, "location": f"/v1/tasks/{id}"}
    assert Walker.began == ["a"]


async def test_a_step_that_a_replica_has_no_resources_for_needs_the_background(make: Make, ledger: Ledger) -> None:
    refused = await answer(make(), "step:a", "gpu:embed")
    stays = await answer(make(), "light:a", "step:b")

    assert (refused.status, refused.problem["type"]) == (409, "/problems/needs-background")
    assert "Step 'embed' needs gpus=1" in refused.problem["detail"]
    assert (stays.status, stays.json) == (200, ["A", "B"])


async def test_inside_of_a_step_it_may_not(make: Make, ledger: Ledger) -> None:
    refused = await answer(make(), "within:a", Prefer="respond-async")

    assert refused.problem["status"] == 500
    assert "between steps" in refused.problem["detail"]
    assert (await ledger.counts()).tasks == {}


@pytest.mark.parametrize("agent", ["Walker", "Stayer"])
async def test_nobody_else_ever_gets_a_202(make: Make, ledger: Ledger, agent: str) -> None:
    app = make(agent)
    prefer = "wait=0" if agent == "Walker" else "respond-async, wait=0.2"

    assert (await answer(app, "slow:a", Prefer=prefer)).problem["status"] == 504
    assert (await answer(app, "promote:x", Prefer=prefer.replace("0", "5"))).problem["status"] == 409
    assert (await ledger.counts()).tasks == {}


async def test_when_its_replica_leaves_its_runs_do_too(make: Make, ledger: Ledger) -> None:
    app = make()
    taken, plain = call(app, "step:a", "slow:b", Prefer="respond-async"), call(app, "slow:c")
    await until(lambda: Walker.began[-2:] == ["b", "c"] or Walker.began[-2:] == ["c", "b"])

    app.leave("drain")

    await queued(ledger, accepted(await answer_of(taken)))
    assert not plain.task.done()
    Walker.gate.set()
    assert (await answer_of(plain)).json == ["C"]


async def test_where_there_is_no_room_the_request_is_a_task_at_once(make: Make, ledger: Ledger) -> None:
    app = make(slots=1, queue=0)
    busy = call(app, "slow:a")
    await until(lambda: Walker.began == ["a"])

    id = accepted(await answer(app, "step:b", Prefer="respond-async, wait=5"))

    assert (await queued(ledger, id)).attempts == 0
    assert Walker.began == ["a"]
    busy.leave()


async def test_one_that_waits_in_line_until_its_time_is_over_is_a_task(make: Make, ledger: Ledger) -> None:
    app = make(slots=1, queue=4)
    busy = call(app, "slow:a")
    await until(lambda: Walker.began == ["a"])

    id = accepted(await answer(app, "step:b", Prefer="respond-async, wait=0.2"))

    assert (await queued(ledger, id)).attempts == 0
    Walker.gate.set()
    assert (await answer_of(busy)).json == ["A"]
    assert Walker.began == ["a"]


# what becomes of its steps


async def test_a_step_that_cannot_be_cancelled_ends_and_is_recorded_before_it_goes(make: Make, ledger: Ledger) -> None:
    id = accepted(await answer(make(), "firm:a", "step:b", Prefer="respond-async, wait=0.2"))
    task = await ledger.task("", id)
    assert task is not None
    assert task.state == "running"

    Walker.gate.set()

    await queued(ledger, id)
    assert [each.name for each in await ledger.steps("", id) or []] == ["a"]
    assert Walker.began == ["a"]


async def test_the_start_of_a_step_that_may_run_once_goes_along(make: Make, ledger: Ledger) -> None:
    id = accepted(await answer(make(), "once:a", Prefer="respond-async, wait=0.2"))

    await queued(ledger, id)
    claim = await Hand(Direct(ledger), "walker").take()
    assert claim.started == ("a#0",)


async def test_what_is_too_large_for_a_task_keeps_the_run_from_leaving(make: Make, ledger: Ledger) -> None:
    refused = await answer(make(), "large:a", "slow:b", Prefer="respond-async, wait=0.2")

    assert refused.problem["status"] == 500
    assert "artifact" in refused.problem["detail"]
    assert Walker.cancelled == ["b"]
    assert (await ledger.counts()).tasks == {}


# when something happens meanwhile


async def test_a_run_that_ends_while_it_is_written_gives_its_answer_and_the_task_has_it_too(
    make: Make, ledger: Ledger
) -> None:
    link = Slow(ledger)
    late = call(make(link=link), "stop:a", Prefer="respond-async, wait=0.2")
    await link.written.wait()
    Walker.gate.set()
    await asyncio.sleep(0.05)
    link.gate.set()

    full = await answer_of(late)

    assert (full.status, full.json) == (200, ["a"])
    id = full.headers["task-id"]
    task = await ledger.task("", id, 5)
    assert task is not None
    assert (task.state, task.output) == ("completed", '["a"]')


async def test_a_caller_who_leaves_meanwhile_does_not_end_it(make: Make, ledger: Ledger) -> None:
    link = Slow(ledger)
    app = make(link=link)
    late = call(app, "step:a", "slow:b", Prefer="respond-async, wait=0.2")
    await link.written.wait()

    late.leave()
    await asyncio.wait([late.task])
    link.gate.set()

    await queued(ledger, (await ledger.tasks("", Filter(), None, 10))[0].id)
    assert (await ledger.counts()).tasks["walker"]["queued"] == 1


async def test_what_is_recorded_meanwhile_comes_after_it(make: Make, ledger: Ledger) -> None:
    link = Slow(ledger)
    late = call(make(link=link), "step:a", "firm:b", "step:c", Prefer="respond-async, wait=0.2")
    await link.written.wait()
    Walker.gate.set()
    await asyncio.sleep(0.05)
    link.gate.set()

    id = accepted(await answer_of(late))

    await queued(ledger, id)
    assert [kind for _, kind in await events_of(ledger, id)] == [
        *("attempt.started", "step.completed", "promoted", "step.completed")
    ]
    assert Walker.began == ["a", "b"]


async def test_a_promotion_that_nobody_confirms_is_a_503_that_names_the_task(make: Make, ledger: Ledger) -> None:
    unsure = await answer(make(link=Unreachable()), "step:a", "slow:b", Prefer="respond-async, wait=0.2")

    assert (unsure.problem["status"], unsure.problem["type"]) == (503, "/problems/unavailable")
    assert unsure.headers["task-id"]
    assert Walker.cancelled == ["b"]


async def test_a_cancel_that_comes_while_it_unwinds_ends_it(make: Make, ledger: Ledger) -> None:
    id = accepted(await answer(make(), "firm:a", "step:b", Prefer="respond-async, wait=0.2"))

    await ledger.cancel("", id)
    await asyncio.sleep(0.05)
    Walker.gate.set()

    task = await ledger.task("", id, 10)
    assert task is not None
    assert task.state == "canceled"


# streams, and those who share a run


async def test_a_stream_ends_with_the_address_and_the_log_goes_on_with_the_next_number(
    make: Make, ledger: Ledger
) -> None:
    told = await answer(make(), "emit:x", "step:a", "firm:b", "step:c", **LIVE, Prefer="respond-async, wait=0.2")

    assert [(event["seq"], event["type"]) for event in told.events] == [
        *((0, "attempt.started"), (1, "progress"), (2, "step.completed"), (3, "promoted"))
    ]
    id = told.headers["task-id"]
    assert told.events[-1]["data"] == {"reason": "late", "task_id": id, "location": f"/v1/tasks/{id}"}
    Walker.gate.set()
    await queued(ledger, id)
    assert await events_of(ledger, id) == [
        *((event["seq"], event["type"]) for event in told.events),
        (4, "step.completed"),
    ]


async def test_a_stream_of_one_that_waits_in_line_has_the_numbers_of_its_task(make: Make, ledger: Ledger) -> None:
    app = make(slots=1, queue=4)
    busy = call(app, "slow:a")
    await until(lambda: Walker.began == ["a"])

    told = await answer(app, "step:b", **LIVE, Prefer="respond-async, wait=0.2")

    id = told.headers["task-id"]
    await queued(ledger, id)
    assert [(event["seq"], event["type"]) for event in told.events] == await events_of(ledger, id)
    busy.leave()


async def test_a_stream_for_which_there_is_no_room_is_a_task_at_once(make: Make, ledger: Ledger) -> None:
    app = make(slots=1, queue=0)
    busy = call(app, "slow:a")
    await until(lambda: Walker.began == ["a"])

    id = accepted(await answer(app, "step:b", **LIVE, Prefer="respond-async"))

    await queued(ledger, id)
    busy.leave()


async def test_callers_who_share_a_run_share_its_task(make: Make, ledger: Ledger) -> None:
    app = make(cache_ttl=60)
    calls = [call(app, "slow:a", Prefer="respond-async, wait=0.2") for _ in range(3)]
    plain = call(app, "slow:a")

    ids = {accepted(await answer_of(each)) for each in calls}

    assert len(ids) == 1
    Walker.gate.set()
    assert (await answer_of(plain)).json == ["A"]


async def test_a_stale_answer_says_where_the_full_one_will_be(make: Make, ledger: Ledger) -> None:
    app = make(cache_ttl=0.02)
    Walker.gate.set()
    await answer(app, "slow:a")
    Walker.gate.clear()
    await asyncio.sleep(0.05)

    stale = await answer(app, "slow:a", Prefer="respond-async, wait=0.2")

    assert (stale.status, stale.json, stale.headers["answer"]) == (200, ["A"], "stale")
    await queued(ledger, stale.headers["location"].removeprefix("/v1/tasks/"))


# with a key


async def test_asked_again_with_its_key_a_promoted_run_is_its_task(make: Make, ledger: Ledger) -> None:
    app = make()
    id = accepted(await answer(app, "slow:a", Prefer="respond-async, wait=0.2", Idempotency_Key="k"))

    again = await answer(app, "slow:a", Prefer="respond-async, wait=0.2", Idempotency_Key="k")
    plain = await answer(app, "slow:a", Prefer="wait=0", Idempotency_Key="k")
    other = await answer(app, "slow:b", Prefer="respond-async, wait=0.2", Idempotency_Key="k")
    await queued(ledger, id)
    hand = Hand(Direct(ledger), "walker")
    await hand.complete(await hand.take(), '["A"]')
    done = await answer(app, "slow:a", Idempotency_Key="k")

    assert accepted(again) == id
    assert (plain.problem["status"], plain.headers["task-id"]) == (504, id)
    assert other.problem["status"] == 409
    assert (done.status, done.json, done.headers["task-id"]) == (200, ["A"], id)
    assert Walker.began == ["a"]


async def test_while_the_ledger_is_away_a_plain_run_with_a_key_runs_and_one_that_may_be_a_task_does_not(
    make: Make,
) -> None:
    app = make(of=Unreachable(), link=Unreachable())

    assert (await answer(app, "step:a", Idempotency_Key="k")).json == ["A"]
    assert (await answer(app, "step:a", Prefer="respond-async", Idempotency_Key="k")).problem["status"] == 503
    assert Walker.began == ["a"]


async def test_a_run_that_left_is_freed_at_once(make: Make, ledger: Ledger) -> None:
    """The collector would have to look for it among all that the process has, and everything stands still then."""
    app = make()

    with garbage() as left:
        for _ in range(2):
            late = await answer(app, "step:a", "stop:b", Prefer="respond-async, wait=0.05")
            await queued(ledger, accepted(late))

    assert left == {}
