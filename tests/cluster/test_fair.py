"""Whose turn it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import fair
from cluster.fair import Turns


def served(turns: Turns[str], count: int, weights: dict[str, float] | None = None) -> list[str]:
    """The next turns, where each key has something left after each."""
    found = []
    for _ in range(count):
        key = turns.next()
        assert key is not None
        turns.serve(key, (weights or {}).get(key, 1.0))
        found.append(key)
    return found


@given(st.integers(1, 12), st.integers(0, 40))
def test_over_any_2k_turns_each_of_k_equal_keys_gets_one(keys: int, before: int) -> None:
    turns: Turns[str] = Turns()
    for number in range(keys):
        turns.join(str(number))
    served(turns, before)

    assert len(set(served(turns, 2 * keys))) == keys


@pytest.mark.slow
@given(st.lists(st.sampled_from(["join", "leave", "end", "serve"]), max_size=60), st.data())
def test_a_key_that_always_waits_is_served_within_2k_turns_whoever_comes_and_goes(
    moves: list[str], data: st.DataObject
) -> None:
    turns: Turns[str] = Turns()
    turns.join("patient")
    others = [f"k{number}" for number in range(5)]
    since = 0
    for move in moves:
        key = data.draw(st.sampled_from(others))
        if move == "join":
            turns.join(key)
        elif move == "leave":
            turns.leave(key)
        elif move == "end":
            turns.end(key)
        else:
            (turn,) = served(turns, 1)
            since = 0 if turn == "patient" else since + 1
        assert since < 2 * (len(others) + 1)


def test_turns_go_by_weight() -> None:
    turns: Turns[str] = Turns()
    turns.join("one")
    turns.join("three")

    assert Counter(served(turns, 400, {"three": 3.0})) == {"one": 100, "three": 300}


def test_a_key_that_had_nothing_gets_no_credit_for_it() -> None:
    turns: Turns[str] = Turns()
    turns.join("busy")
    served(turns, 1000)

    turns.join("late")

    assert Counter(served(turns, 10)) == {"busy": 5, "late": 5}


@pytest.mark.parametrize("go", [Turns.leave, Turns.end])
def test_leaving_and_coming_back_wins_no_turn(go: Callable[[Turns[str], str], None]) -> None:
    turns: Turns[str] = Turns()
    turns.join("honest")
    turns.join("clever")
    taken: Counter[str] = Counter()
    for _ in range(100):
        (turn,) = served(turns, 1)
        taken[turn] += 1
        go(turns, "clever")
        turns.join("clever")

    assert taken == {"honest": 50, "clever": 50}


def test_of_keys_that_have_nothing_only_the_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair, "ENDED", 10)
    turns: Turns[str] = Turns()
    for customers in range(100):
        keys = [f"{customers}-{number}" for number in range(5)]
        for key in keys:
            turns.join(key)
        for key in served(turns, 5):
            turns.end(key)

    assert len(turns._passes) == len(turns) == 0
    assert len(turns._ended) == 10
    assert len(turns._heap) <= fair.SPARE + 2 * 5


def test_nobody_is_next_where_nobody_waits() -> None:
    turns: Turns[str] = Turns()
    turns.join("a")
    turns.leave("a")

    assert turns.next() is None
    assert len(turns) == 0
