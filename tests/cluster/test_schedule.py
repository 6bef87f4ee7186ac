"""What is to be done about a schedule: which times get a task, and which place in time it keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.schedule import LATE, LOOK, Policy, Template, due, firing, made, pause, placed, read, task_of, write
from cluster.task import Options

from .keeping_contract import schedule

HOUR = 3600.0
NOON = 1_000_080_000.0 - 1_000_080_000 % 86400 + 43200  # of some day, in UTC
POLICY = Policy("v1", 60.0, 3)


def hours(*numbers: int) -> tuple[float, ...]:
    """So many hours after noon."""
    return tuple(NOON + number * HOUR for number in numbers)


def hourly(**changes: Any) -> Any:
    return schedule(**{"cron": "0 * * * *", "next_at": NOON, **changes})


# What is due at noon and 5 seconds, or three hours later, where the schedule was not looked at in between.
SOON, LATER = NOON + 5, NOON + 3 * HOUR + 5


@pytest.mark.parametrize(
    ("catch_up", "now", "expected", "next_at"),
    [
        *((each, NOON - 1, (), 0) for each in ("none", "one", "all")),
        *((each, NOON, hours(0), 1) for each in ("none", "one", "all")),
        *((each, SOON, hours(0), 1) for each in ("none", "one", "all")),
        ("none", NOON + LATE, hours(0), 1),
        ("none", NOON + LATE + 1, (), 1),
        ("none", LATER, hours(3), 4),
        ("none", LATER + LATE, (), 4),
        ("one", LATER, hours(3), 4),
        ("one", LATER + LATE, hours(3), 4),
        ("all", LATER, hours(0, 1, 2, 3), 4),
    ],
)
def test_what_was_missed_is_caught_up_with_as_the_schedule_says(
    catch_up: str, now: float, expected: tuple[float, ...], next_at: int
) -> None:
    assert due(hourly(catch_up=catch_up), now) == (expected, *hours(next_at))


@pytest.mark.parametrize(
    ("overlap", "catch_up", "unended", "held", "fired", "now_held"),
    [
        ("allow", "all", 9, None, (0, 1, 2, 3), None),
        ("allow", "one", 9, None, (3,), None),
        ("skip", "one", 0, None, (3,), None),
        ("skip", "one", 1, None, (), None),
        ("skip", "all", 0, None, (0,), None),
        ("cancel", "one", 0, None, (3,), None),
        ("cancel", "all", 1, None, (3,), None),
        ("queue_one", "one", 0, None, (3,), None),
        ("queue_one", "one", 1, None, (), 3),
        ("queue_one", "one", 1, -1, (), -1),
        ("queue_one", "one", 0, -1, (-1,), 3),
        ("queue_one", "all", 0, None, (0,), 1),
        ("queue_one", "all", 1, None, (), 0),
    ],
)
def test_a_time_that_meets_an_unended_task_goes_as_the_schedule_says(
    overlap: str, catch_up: str, unended: int, held: int | None, fired: tuple[int, ...], now_held: int | None
) -> None:
    held_at = None if held is None else hours(held)[0]
    found = firing(hourly(overlap=overlap, catch_up=catch_up, held_at=held_at, last_at=7.0), LATER, unended)

    assert found.times == hours(*fired)
    assert found.schedule.held_at == (None if now_held is None else hours(now_held)[0])
    assert found.schedule.next_at == hours(4)[0]
    assert found.schedule.last_at == (found.times[-1] if fired else 7.0)
    assert found.cancel == (overlap == "cancel")
    considered = (4 if catch_up == "all" else 1) + (held is not None)
    assert found.dropped == considered - len(fired) - (now_held is not None)


def test_what_is_held_fires_as_soon_as_nothing_runs_though_nothing_is_due() -> None:
    waiting = hourly(overlap="queue_one", held_at=hours(-1)[0])

    assert firing(waiting, NOON - 1, 1).schedule == waiting
    assert firing(waiting, NOON - 1, 0).times == hours(-1)
    assert firing(waiting, NOON - 1, 0).schedule == waiting._replace(held_at=None, last_at=hours(-1)[0])


def test_a_look_without_anything_due_changes_nothing() -> None:
    for overlap in ("allow", "skip", "cancel", "queue_one"):
        found = firing(hourly(overlap=overlap), NOON - 1, 1)

        assert (found.times, found.cancel, found.dropped, found.schedule) == ((), False, 0, hourly(overlap=overlap))


def test_a_paused_schedule_keeps_its_place() -> None:
    paused = hourly(paused=1, held_at=5.0, overlap="queue_one")

    assert firing(paused, LATER, 0) == ((), False, paused, 0)


@pytest.mark.parametrize(
    ("catch_up", "next_at", "fired"), [("none", 4, ()), ("one", 0, hours(3)), ("all", 0, hours(0, 1, 2, 3))]
)
def test_one_that_goes_on_takes_up_what_it_missed(catch_up: str, next_at: int, fired: tuple[float, ...]) -> None:
    paused = hourly(catch_up=catch_up, overlap="allow", paused=1)

    resumed = pause(paused, False, LATER)

    assert (resumed.paused, resumed.next_at) == (0, hours(next_at)[0])
    assert firing(resumed, LATER, 0).times == fired
    assert pause(resumed, True, LATER) == resumed._replace(paused=1)
    assert pause(resumed, False, LATER + HOUR * 9) == resumed


def test_a_long_absence_is_caught_up_with_in_several_looks() -> None:
    minutely, now = schedule(cron="* * * * *", next_at=NOON, overlap="allow", catch_up="all"), NOON + 60 * 2.5 * LOOK
    fired: list[float] = []
    looks = 0

    while minutely.next_at is not None and minutely.next_at <= now:
        found = firing(minutely, now, 0)
        assert len(found.times) <= LOOK
        fired += found.times
        minutely = found.schedule
        looks += 1

    assert looks == 3
    assert fired == [NOON + 60 * number for number in range(int(2.5 * LOOK) + 1)]


@pytest.mark.slow
@given(
    st.sampled_from(["skip", "queue_one", "cancel"]),
    st.sampled_from(["none", "one", "all"]),
    st.lists(st.tuples(st.floats(0, 3 * HOUR), st.integers(0, 1)), min_size=1, max_size=20),
)
def test_only_allow_lets_two_tasks_run_and_no_time_fires_twice(
    overlap: str, catch_up: str, looks: list[tuple[float, int]]
) -> None:
    found = hourly(overlap=overlap, catch_up=catch_up)
    now = NOON - 1
    fired: list[float] = []

    for later, unended in looks:
        now += later
        outcome = firing(found, now, unended)
        found = outcome.schedule
        fired += outcome.times
        assert unended * (not outcome.cancel) + len(outcome.times) <= 1
        assert found.next_at is not None
        assert found.next_at > now or catch_up == "all"

    assert len(set(fired)) == len(fired)
    assert fired == sorted(fired)


def test_a_line_that_has_no_more_times_ends_the_schedule() -> None:
    assert firing(hourly(next_at=None), LATER, 0).schedule.next_at is None


# put


def test_a_new_schedule_begins_with_the_time_after_now() -> None:
    found = placed(hourly(next_at=None, created_at=0.0), None, None, SOON)

    assert (found.next_at, found.created_at, found.paused) == (hours(1)[0], SOON, 0)
    assert placed(hourly(), None, True, SOON).paused == 1


def test_another_input_leaves_a_schedule_its_place_in_time() -> None:
    old = hourly(last_at=5.0, created_at=3.0, paused=1)

    found = placed(hourly(input="1", next_at=None), old, None, SOON)

    assert found == old._replace(input="1")


@pytest.mark.parametrize("changes", [{"cron": "30 * * * *"}, {"zone": "Asia/Kathmandu"}])
def test_other_times_begin_after_now(changes: dict[str, str]) -> None:
    old = hourly(last_at=5.0, created_at=3.0)

    found = placed(hourly(next_at=None, **changes), old, None, SOON)

    assert found.next_at is not None
    assert SOON < found.next_at <= SOON + HOUR
    assert (found.last_at, found.created_at) == (5.0, 3.0)


def test_a_put_that_says_so_pauses_or_goes_on() -> None:
    missed = hourly(paused=1, catch_up="none")

    assert placed(missed, missed, None, LATER) == missed
    assert placed(missed, missed, False, LATER) == missed._replace(paused=0, next_at=hours(4)[0])
    assert placed(missed, missed._replace(paused=0), True, LATER) == missed


def test_what_was_held_is_forgotten_where_no_time_is_held_any_more() -> None:
    old = hourly(overlap="queue_one", held_at=5.0)

    assert placed(hourly(overlap="queue_one"), old, None, SOON).held_at == 5.0
    assert placed(hourly(overlap="skip"), old, None, SOON).held_at is None


# tasks


def test_a_time_has_one_task_whoever_makes_it() -> None:
    one = schedule(template=write(Template(Options(), POLICY)))

    first, again = task_of(one, NOON, POLICY, 1.0), task_of(one._replace(input="2"), NOON, None, 2.0)

    assert first.id == again.id
    others = [
        task_of(other, moment, POLICY, 1.0).id
        for other, moment in (
            (one, NOON + HOUR),
            (one._replace(name="other"), NOON),
            (one._replace(tenant="t"), NOON),
        )
    ]
    assert len({first.id, *others}) == 4


def test_a_task_has_what_was_asked_and_else_its_agents_policy() -> None:
    options = Options(priority=3, timeout=5.0, tags=("a", "b"), limit_key="k", retry={"base": 1.0})
    one = schedule(tenant="t", template=write(Template(options, POLICY)))

    task = task_of(one, NOON, Policy("v2", 99.0, 9), 7.0)

    assert (task.tenant, task.agent, task.input, task.schedule) == ("t", one.agent, one.input, one.name)
    assert (task.version, task.timeout, task.max_attempts) == ("v2", 5.0, 9)
    assert (task.priority, json.loads(task.tags), task.limit_key, task.retry) == (3, ["a", "b"], "k", {"base": 1.0})
    assert (task.run_at, task.created_at) == (NOON, 7.0)
    unknown = task_of(one, NOON, None, 7.0)
    assert (unknown.version, unknown.timeout, unknown.max_attempts) == ("v1", 5.0, 3)


def test_a_task_by_hand_runs_at_once() -> None:
    task = made(schedule(template=write(Template(Options(), POLICY))), "id", None, 7.0)

    assert (task.id, task.run_at, task.schedule) == ("id", 0.0, "nightly")


def test_a_template_of_another_version_is_read_as_far_as_it_is_known() -> None:
    parts = json.loads(write(Template(Options(priority=1), POLICY)))
    del parts["options"]["retry"]
    parts["options"]["colour"] = "red"

    assert read(json.dumps(parts)) == Template(Options(priority=1), POLICY)
