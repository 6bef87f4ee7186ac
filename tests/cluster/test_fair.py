"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

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


@given(st.lists(st.sampled_from(["join", "leave", "serve"]), max_size=60), st.data())
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


def test_leaving_and_coming_back_wins_no_turn() -> None:
    turns: Turns[str] = Turns()
    turns.join("honest")
    turns.join("clever")
    taken: Counter[str] = Counter()
    for _ in range(100):
        (turn,) = served(turns, 1)
        taken[turn] += 1
        turns.leave("clever")
        turns.join("clever")

    assert taken == {"honest": 50, "clever": 50}


def test_nobody_is_next_where_nobody_waits() -> None:
    turns: Turns[str] = Turns()
    turns.join("a")
    turns.leave("a")

    assert turns.next() is None
    assert len(turns) == 0
