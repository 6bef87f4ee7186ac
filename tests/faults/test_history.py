"""The checker of a history finds each way in which one can be wrong, and nothing in one that is right."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from cluster.task import Event, Step, Task

from .history import History, Life, Told

HAUL, JUGGLE, CHILD = "haul-id", "juggle-id", "child-id"
UNKNOWN = '{"type":"step_outcome_unknown","step":"charge#0"}'


def life(id: str, name: str, end: str = "output", *marks: str, **changes: object) -> Life:
    """A completed task that recorded these marks, as `haul` with a number each."""
    state = {"output": "completed", "failed": "failed", "canceled": "canceled"}[end]
    steps = tuple(Step("haul", f"#{n}", "d", f'"{mark}"', n, 1, 1.0) for n, mark in enumerate(marks))
    types = ["attempt.started", *["step.completed"] * len(steps), end]
    events = tuple(Event(seq, type, 1.0, 1, None, "{}") for seq, type in enumerate(types))
    output = '{"marks":[' + ",".join(f'"{mark}"' for mark in marks) + "]}" if end == "output" else None
    task = Task("", id, "hauler", "v", f'{{"name":"{name}"}}', 0, "[]", None, 3, 60.0, 1.0)
    return Life(task.but(state=state, output=output, **changes), steps, events)


def right() -> History:
    """A hauler, and a juggler with a child; `h1` started twice before it was recorded."""
    told = Told(names={HAUL: "c0.1", JUGGLE: "c0.2"}, ends={HAUL: ("completed", {"marks": ["h0", "h1"]})})
    juggler = life(JUGGLE, "c0.2", "output", "j0", children=1)
    lives = {
        HAUL: life(HAUL, "c0.1", "output", "h0", "h1"),
        JUGGLE: juggler._replace(task=juggler.task.but(output='{"marks":["j0","p0"]}')),
        CHILD: life(CHILD, "c0.2/0", "output", "p0", parent_id=JUGGLE),
    }
    starts = [
        (HAUL, "haul#0", "h0"),
        (JUGGLE, "haul#0", "j0"),
        (HAUL, "haul#1", "lost"),
        (CHILD, "haul#0", "p0"),
        (HAUL, "haul#1", "h1"),
    ]
    return History(told, lives, starts, [])


def but(history: History, id: str, **changes: object) -> None:
    history.lives[id] = history.lives[id]._replace(task=history.lives[id].task.but(**changes))


def lose(history: History) -> None:
    del history.lives[HAUL]


def make_twice(history: History) -> None:
    history.lives["other"] = life("other", "c0.1", "output")


def stay(history: History) -> None:
    but(history, HAUL, state="running")


def end_twice(history: History) -> None:
    found = history.lives[HAUL]
    history.lives[HAUL] = found._replace(events=(*found.events, Event(4, "output", 1.0, 1, None, "{}")))


def end_otherwise(history: History) -> None:
    but(history, HAUL, output='{"marks":["h0"]}')


def skip_a_number(history: History) -> None:
    found = history.lives[HAUL]
    history.lives[HAUL] = found._replace(events=tuple(event for event in found.events if event.seq != 1))


def cancel_unasked(history: History) -> None:
    history.lives[CHILD] = life(CHILD, "c0.2/0", "canceled", parent_id=JUGGLE)


def fail(history: History) -> None:
    history.lives[JUGGLE] = life(JUGGLE, "c0.2", "failed", "j0", children=1, error='{"type":"timeout","step":null}')


def lose_a_child(history: History) -> None:
    del history.lives[CHILD]


def run_a_recorded_step_again(history: History) -> None:
    history.starts.append((HAUL, "haul#1", "h2"))


def run_a_step_again_that_was_answered(history: History) -> None:
    history.starts.append((HAUL, "haul#0", "h0"))


def charge_twice(history: History) -> None:
    history.starts += [(JUGGLE, "charge#0", "x"), (JUGGLE, "charge#0", "y")]


def run_for_nobody(history: History) -> None:
    history.starts.append(("nobody", "haul#0", "x"))


def keep_a_claim(history: History) -> None:
    history.holders.append("w1")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lose, "accepted and is lost"),
        (make_twice, "known to no client"),
        (make_twice, "made 2 times"),
        (stay, "has not ended"),
        (end_twice, "ended 2 times"),
        (end_otherwise, "was seen to end as"),
        (end_otherwise, "its journal"),
        (skip_a_number, r"numbered \[0, 2, 3\]"),
        (cancel_unasked, "nobody asked"),
        (cancel_unasked, "completed with children"),
        (fail, "failed: .*timeout"),
        (lose_a_child, "has called 1, and has 0"),
        (lose_a_child, "there is no such task"),
        (run_a_recorded_step_again, "recorded as h1, and started again as h2"),
        (run_a_step_again_that_was_answered, "haul#0 of haul-id started again after haul#1"),
        (charge_twice, "may run once"),
        (run_for_nobody, "there is no such task"),
        (keep_a_claim, "still holds claims"),
    ],
)
def test_what_is_wrong_is_found(wrong: Callable[[History], None], sentence: str) -> None:
    history = right()
    wrong(history)

    found = History(history.told, history.lives, history.starts, history.holders).breaches()

    assert any(re.search(sentence, each) for each in found), found


def test_a_history_without_a_fault_has_none() -> None:
    assert right().breaches() == []


@pytest.mark.parametrize(("starts", "may"), [(1, True), (2, False)])
def test_a_task_may_fail_over_a_step_whose_outcome_nobody_knows(starts: int, may: bool) -> None:
    failed = life(HAUL, "c0.1", "failed", "h0", error=UNKNOWN)
    marks = [(HAUL, "haul#0", "h0"), *[(HAUL, "charge#0", f"x{n}") for n in range(starts)]]

    found = History(Told(names={HAUL: "c0.1"}), {HAUL: failed}, marks, []).breaches()

    assert (found == []) == may
