"""What a request gets, as tables: at the door, and when its time is almost over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ladder import Door, Rung, admit, late

FULL = Door(slots=2, free=0, waiting=4, queue=4, service=1.0, left=30.0)


@pytest.mark.parametrize(
    ("door", "rung"),
    [
        (Door(fresh=True, free=1), Rung.CACHED),
        (FULL._replace(fresh=True, stale=True), Rung.CACHED),
        (Door(free=1, stale=True, simple=True, task=True), Rung.RUN),
        (FULL._replace(waiting=3), Rung.QUEUE),
        (FULL._replace(waiting=3, stale=True), Rung.QUEUE),
        (FULL._replace(waiting=3, left=3.0), Rung.QUEUE),  # two before it in each slot, and its own second
        (FULL._replace(waiting=3, left=2.9), Rung.REFUSE),
        (FULL._replace(waiting=3, left=2.9, task=True), Rung.TASK),
        (FULL._replace(waiting=0, service=0.0, left=0.1), Rung.QUEUE),  # nobody knows how long a run takes
        (FULL._replace(queue=0, waiting=0), Rung.REFUSE),
        (FULL._replace(stale=True, simple=True, task=True), Rung.STALE),
        (FULL._replace(simple=True, task=True), Rung.SIMPLE),
        (FULL._replace(task=True), Rung.TASK),
        (FULL, Rung.REFUSE),
    ],
)
def test_at_the_door(door: Door, rung: Rung) -> None:
    assert admit(door) is rung


@pytest.mark.parametrize(
    ("stale", "simple", "task", "rung"),
    [
        (True, True, True, Rung.STALE),
        (False, True, True, Rung.SIMPLE),
        (False, False, True, Rung.TASK),
        (False, False, False, Rung.REFUSE),
    ],
)
def test_when_time_is_almost_over(stale: bool, simple: bool, task: bool, rung: Rung) -> None:
    assert late(stale=stale, simple=simple, task=task) is rung


@given(
    st.builds(
        Door,
        *[st.booleans()] * 4,
        st.integers(1, 8),
        st.integers(0, 8),
        st.integers(0, 20),
        st.integers(0, 20),
        st.floats(0, 10),
        st.floats(0, 10),
    )
)
def test_nobody_is_refused_or_sent_away_for_whom_there_is_something(door: Door) -> None:
    rung = admit(door)

    better = any((door.fresh, door.stale, door.simple, door.free))
    if rung is Rung.REFUSE:
        assert not better
        assert not door.task
    if rung is Rung.TASK:
        assert not better
        assert door.task
    if rung is Rung.QUEUE:
        assert door.waiting < door.queue
