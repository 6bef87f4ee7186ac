"""What a caller gets whose question was asked before, or is asked by others now."""

from __future__ import annotations

import pytest

from .clerks import Clerk, Make, answer, answer_of, call, settled, told
from .driving import ask

# answers that are kept


async def test_an_equal_question_gets_the_same_answer_while_it_is_fresh(make: Make) -> None:
    app = make(cache_ttl=60)
    Clerk.gate.set()

    first = await ask(app, "POST", "/run", b'{"text": "hi", "about": {"a": 1, "b": 2}}')
    again = await ask(app, "POST", "/run", b'{"about":{"b":2,"a":1},"text":"hi"}')
    other = await ask(app, "POST", "/run", b'{"text": "hi", "about": {"a": 1}}')

    assert [told(each) for each in (first, again, other)] == [
        ("hi 1", "full"),
        ("hi 1", "cached"),
        ("hi 2", "full"),
    ]
    assert (again.headers["age"], again.headers["task-id"]) == ("0", first.headers["task-id"])
    assert "age" not in first.headers
    assert app.load.arrived == 2  # as many as wanted a run


async def test_nothing_is_kept_where_nobody_asked_for_that(make: Make) -> None:
    app = make()
    Clerk.gate.set()

    assert [told(await answer(app)) for _ in range(2)] == [("hello 1", "full"), ("hello 2", "full")]


@pytest.mark.parametrize("control", ["no-cache", "max-age=0", "no-store"])
async def test_a_caller_who_wants_no_kept_answer_gets_a_new_one_and_others_do_then(make: Make, control: str) -> None:
    app = make(cache_ttl=60)
    Clerk.gate.set()
    await answer(app)

    assert told(await answer(app, headers={"Cache-Control": control})) == ("hello 2", "full")
    assert told(await answer(app, headers={"Cache-Control": "max-age=60"})) == ("hello 2", "cached")


async def test_an_error_is_not_kept(make: Make) -> None:
    app = make(cache_ttl=60)
    Clerk.gate.set()

    for _ in range(2):
        assert (await answer(app, "wrong")).problem["status"] == 500
    assert Clerk.asked == ["wrong", "wrong"]


async def test_a_key_keeps_its_task_id_whoever_gave_the_answer(make: Make) -> None:
    app = make(cache_ttl=60)
    Clerk.gate.set()

    first = await answer(app, headers={"Idempotency-Key": "a"})
    other = await answer(app, headers={"Idempotency-Key": "b"})

    assert told(other) == ("hello 1", "cached")
    assert first.headers["task-id"] != other.headers["task-id"]


# equal questions at once


async def test_equal_questions_at_once_are_computed_once(make: Make) -> None:
    app = make(cache_ttl=60, slots=1, queue=0)
    calls = [call(app) for _ in range(10)]
    await settled()
    Clerk.gate.set()

    answers = [await answer_of(each) for each in calls]

    assert {told(each) for each in answers} == {("hello 1", "full")}
    assert len({each.headers["task-id"] for each in answers}) == 1


async def test_an_error_is_everybodys(make: Make) -> None:
    app = make(cache_ttl=60)
    calls = [call(app, "wrong") for _ in range(3)]
    await settled()
    Clerk.gate.set()

    assert [(await answer_of(each)).problem["detail"] for each in calls] == ["that is wrong"] * 3
    assert Clerk.asked == ["wrong"]


async def test_the_run_goes_on_until_the_last_who_waits_has_left(make: Make) -> None:
    app = make(cache_ttl=60)
    first, second = call(app), call(app)
    await settled()

    first.leave()
    await settled()
    assert Clerk.ended == []
    second.leave()
    await settled()

    assert Clerk.ended == ["hello cancelled"]
    assert (app.load.running, app.abandoned) == (0, 0)


async def test_a_run_that_was_left_is_not_joined(make: Make) -> None:
    app = make(cache_ttl=60)
    first = call(app)
    await settled()
    first.leave()
    second = call(app)
    await settled()
    Clerk.gate.set()

    assert told(await answer_of(second)) == ("hello 2", "full")


async def test_the_run_of_a_stream_is_nobody_elses_since_it_goes_at_its_readers_pace(make: Make) -> None:
    app = make(cache_ttl=60)
    stream = call(app, headers={"Accept": "text/event-stream"})
    await settled()
    plain = call(app)
    await settled()
    late = call(app, headers={"Accept": "text/event-stream"})  # it may share the run of one who listens to nothing
    await settled()
    assert app.load.arrived == 2

    stream.leave()
    await settled()
    Clerk.gate.set()

    assert told(await answer_of(plain)) == ("hello 2", "full")
    assert [event["data"] for event in (await answer_of(late)).events] == [{}, {"output": "hello 2"}]
    assert Clerk.ended == ["hello cancelled", "hello"]


async def test_the_deadline_of_a_run_is_that_of_whoever_waits_longest(make: Make) -> None:
    app = make(cache_ttl=60, deadline=9)
    hasty = call(app, headers={"Prefer": "wait=1"})
    await settled()
    patient = call(app)
    await settled()
    Clerk.gate.set()
    await answer_of(hasty)
    await answer_of(patient)

    assert len(Clerk.left) == 1
    assert 8 < Clerk.left[0] <= 9


async def test_questions_of_agents_that_keep_nothing_run_each_by_itself(make: Make) -> None:
    app = make()
    calls = [call(app) for _ in range(3)]
    await settled()
    Clerk.gate.set()

    assert [told(await answer_of(each)) for each in calls] == [("hello 3", "full")] * 3
    assert len(Clerk.asked) == 3
