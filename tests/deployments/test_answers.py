"""That answers are kept for as long, and in as much room, as is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.answers import OVERHEAD, Answers


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_answer_is_found_until_it_is_too_old(clock: Clock) -> None:
    answers = Answers(clock)
    answers.keep("k", b"1", "t1")

    clock.now += 5
    found = answers.find("k", 5)
    assert found is not None
    assert (found[0].output, found[0].task_id, found[1]) == (b"1", "t1", 5)
    assert answers.find("k", 4.9) is None
    assert answers.find("other", 5) is None


def test_a_new_answer_takes_the_place_of_the_old_one(clock: Clock) -> None:
    answers = Answers(clock)
    answers.keep("k", b"1", "t1")
    clock.now += 5
    answers.keep("k", b"22", "t2")

    found = answers.find("k", 0)
    assert found is not None
    assert found[0].output == b"22"
    assert (len(answers), answers.size) == (1, OVERHEAD + 3)


def test_the_one_that_was_not_asked_for_goes_first(clock: Clock) -> None:
    answers = Answers(clock, 2 * OVERHEAD + 20)
    answers.keep("a", b"1", "")
    answers.keep("b", b"2", "")
    answers.find("a", 1)

    answers.keep("c", b"3", "")

    assert [answers.find(key, 1) is not None for key in "abc"] == [True, False, True]


def test_what_is_larger_than_all_the_room_is_not_kept_nor_what_it_would_replace(clock: Clock) -> None:
    answers = Answers(clock, OVERHEAD + 20)
    answers.keep("a", b"1", "")

    answers.keep("a", b"x" * 100, "")

    assert (len(answers), answers.size) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 800)), max_size=60))
def test_they_never_take_more_than_their_room(kept: list[tuple[str, int]]) -> None:
    answers = Answers(Clock(), 3000)

    for key, size in kept:
        answers.keep(key, b"x" * size, "")
        assert answers.size <= 3000
    there = [found for key in "abcdef" if (found := answers.find(key, 1))]
    assert answers.size == sum(OVERHEAD + 1 + len(found.output) for found, _ in there)
