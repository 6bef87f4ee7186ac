"""What a caller gets where there is no free slot, or no time left."""

from __future__ import annotations

import asyncio

import pytest

from tests.garbage import garbage

from .clerks import Clerk, Make, Quick, answer, answer_of, call, settled, told

pytestmark = pytest.mark.slow

# slots


async def test_more_than_the_slots_wait_in_line_and_more_than_that_are_told_to_come_again(make: Make) -> None:
    app = make(slots=2, queue=2)
    calls = [call(app, str(number)) for number in range(4)]
    await settled()
    refused = await answer(app, "4")
    assert (app.load.running, app.load.waiting, Clerk.asked) == (2, 2, ["0", "1"])
    Clerk.gate.set()

    answers = [await answer_of(each) for each in calls]

    assert [each.status for each in answers] == [200] * 4
    assert (refused.problem["status"], refused.problem["type"]) == (429, "/problems/overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert Clerk.asked == ["0", "1", "2", "3"]
    assert (app.load.running, app.load.waiting, app.load.arrived) == (0, 0, 5)


async def test_whoever_leaves_the_line_never_runs(make: Make) -> None:
    app = make(slots=1, queue=2)
    first, second, third = (call(app, text) for text in "abc")
    await settled()

    second.leave()
    await settled()
    Clerk.gate.set()
    await answer_of(first)
    await answer_of(third)

    assert Clerk.asked == ["a", "c"]


async def test_a_line_that_is_too_slow_for_a_caller_is_not_joined(make: Make) -> None:
    app = make(slots=1, queue=16, deadline=5)
    first = call(app, "first")
    await asyncio.sleep(0.3)
    Clerk.gate.set()
    await answer_of(first)  # so a run takes a third of a second
    Clerk.gate.clear()
    busy = call(app, "busy")
    await settled()

    hasty = await answer(app, "hasty", headers={"Prefer": "wait=0"})
    Clerk.gate.set()
    await answer_of(busy)

    assert hasty.problem["status"] == 429
    assert "hasty" not in Clerk.asked


async def test_a_run_that_was_cancelled_gives_its_slot_back(make: Make) -> None:
    app = make(slots=1, queue=0, deadline=0.05)

    assert (await answer(app)).problem["status"] == 504
    Clerk.gate.set()
    assert told(await answer(app, "next")) == ("next 2", "full")


# when there is no room, or no time


async def test_where_there_is_no_room_an_answer_that_is_not_fresh_any_more_will_do(make: Make) -> None:
    app = make(slots=1, queue=0, cache_ttl=0.05)
    Clerk.gate.set()
    await answer(app, "known")
    Clerk.gate.clear()
    busy = call(app, "busy")
    await asyncio.sleep(0.1)

    assert told(await answer(app, "known")) == ("known 1", "stale")
    assert (await answer(app, "known", headers={"Cache-Control": "no-cache"})).status == 429
    assert (await answer(app, "unknown")).status == 429
    busy.leave()


async def test_nor_will_one_that_is_too_old(make: Make) -> None:
    app = make(slots=1, queue=0, cache_ttl=0.02, stale_ttl=0.02)
    Clerk.gate.set()
    await answer(app, "known")
    Clerk.gate.clear()
    busy = call(app, "busy")
    await asyncio.sleep(0.1)

    assert (await answer(app, "known")).status == 429
    busy.leave()


async def test_at_the_deadline_a_stale_answer_comes_before_a_simple_one_and_the_run_is_cancelled(make: Make) -> None:
    app = make(Quick, deadline=1.2, simple_time=1.0, cache_ttl=0.05)
    Clerk.gate.set()
    await answer(app, "known")
    Clerk.gate.clear()
    await asyncio.sleep(0.1)

    assert told(await answer(app, "known")) == ("known 1", "stale")
    assert told(await answer(app, "new")) == ("in short: new", "simple")
    assert Clerk.ended == ["known", "known cancelled", "new cancelled"]


async def test_a_simple_answer_may_take_steps(make: Make) -> None:
    assert told(await answer(make(Quick, deadline=1.1, simple_time=1.0), "steps")) == ("STEPS", "simple")


@pytest.mark.parametrize("text", ["none", "slow", "broken"])
async def test_without_a_simple_answer_it_is_too_late(make: Make, text: str) -> None:
    late = await answer(make(Quick, deadline=0.2), text)

    assert (late.problem["status"], late.problem["type"]) == (504, "/problems/deadline")
    assert "0.2 s" in late.problem["detail"]


async def test_a_run_that_ends_after_all_gives_the_answer(make: Make) -> None:
    app = make(Quick, deadline=1.0, simple_time=0.4)
    late = call(app, "none")
    await asyncio.sleep(0.7)
    Clerk.gate.set()

    assert told(await answer_of(late)) == ("none 1", "full")


async def test_where_there_is_no_room_the_simple_answer_comes_at_once(make: Make) -> None:
    app = make(Quick, slots=1, queue=0)
    busy = call(app, "busy")
    await settled()

    assert told(await answer(app, "new")) == ("in short: new", "simple")
    busy.leave()


@pytest.mark.parametrize("text", ["refused", "broken"])
async def test_a_simple_answer_that_fails_is_freed_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    for log in ("live", "runs"):  # what is logged is kept, with its error
        monkeypatch.setattr(f"deployments.{log}.log.disabled", True)
    app = make(Quick, slots=1, queue=0)
    busy = call(app, "busy")
    await settled()

    with garbage() as left:
        for _ in range(2):
            assert (await answer(app, text)).status == 429

    assert left == {}
    busy.leave()


async def test_simple_answers_are_bounded_too(make: Make) -> None:
    app = make(Quick, slots=1, queue=0, simple_time=5)
    busy = call(app, "busy")
    await settled()
    slow = call(app, "slow")
    await settled()

    assert (await answer(app, "new")).status == 429
    busy.leave()
    slow.leave()


# how long a caller waits


@pytest.mark.parametrize(
    ("prefer", "deadline", "left"),
    [("wait=2", 9, 2), ("wait=20", 9, 9), ("respond-async, wait=1", 9, 1), ("wait=soon", 9, 9), ("wait", 9, 9)],
)
async def test_a_caller_may_wait_for_less(make: Make, prefer: str, deadline: float, left: float) -> None:
    Clerk.gate.set()

    await answer(make(deadline=deadline), headers={"Prefer": prefer})

    assert left - 0.5 < Clerk.left[0] <= left


async def test_a_caller_who_waits_for_less_is_told_then(make: Make) -> None:
    late = await answer(make(deadline=30), headers={"Prefer": "wait=0"})

    assert late.problem["status"] == 504


# streams


async def test_a_stream_for_which_there_is_no_room_is_a_problem(make: Make) -> None:
    app = make(slots=1, queue=0)
    busy = call(app, "busy")
    await settled()

    assert (await answer(app, headers={"Accept": "text/event-stream"})).problem["status"] == 429
    busy.leave()


async def test_a_stream_says_which_kind_of_answer_it_ends_with(make: Make) -> None:
    app = make(Quick, deadline=1.2, simple_time=1.0, cache_ttl=60)
    live = {"Accept": "text/event-stream"}
    simple = await answer(app, "new", headers=live)
    Clerk.gate.set()
    full = await answer(app, "new", headers=live)
    cached = await answer(app, "new", headers=live)

    assert [[event["type"] for event in each.events] for each in (simple, full, cached)] == [
        ["attempt.started", "output"]
    ] * 3
    assert [each.events[-1]["data"] for each in (simple, full, cached)] == [
        {"output": "in short: new", "answer": "simple"},
        {"output": "new 2"},
        {"output": "new 2", "answer": "cached"},
    ]


async def test_serves_own_timeout_is_met_by_an_answer_of_ours(make: Make) -> None:
    late = await answer(make(deadline=30), headers={"x-request-timeout-seconds": "0.2"})

    assert (late.problem["status"], late.problem["type"]) == (504, "/problems/deadline")
