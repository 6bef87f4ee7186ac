"""Which sentences are chosen, and in which order they are read."""

from __future__ import annotations

import numpy as np

from agents.library.support.choosing import LETTERS, MOST, Candidate, choose
from agents.library.support.index import Weighed

SIZE = 64


def candidates(*passages: list[tuple[str, float]]) -> list[Candidate]:
    """Candidates from (text, score); each text means something else, unless it is the same text."""
    known: dict[str, int] = {}
    return [
        Candidate(
            at,
            place,
            score,
            Weighed(text, 0.0, 0.0, np.eye(SIZE, dtype=np.float32)[known.setdefault(text, len(known))]),
        )
        for at, passage in enumerate(passages)
        for place, (text, score) in enumerate(passage)
    ]


def chosen(*passages: list[tuple[str, float]]) -> list[str]:
    return [each.sentence.text for each in choose(candidates(*passages))]


def test_passages_come_by_their_best_sentence_and_sentences_as_they_stand() -> None:
    near = [("Ships sail far.", 0.86), ("They are fast there.", 0.1), ("Ships need deep harbours.", 0.88)]
    best = [("Boats float on water.", 0.9), ("Boats may sink too.", 1.0)]

    assert chosen(near, best) == [
        "Boats float on water.",
        "Boats may sink too.",
        "Ships sail far.",
        "Ships need deep harbours.",
    ]


def test_what_falls_behind_the_best_is_left_out() -> None:
    assert chosen([("The very best one.", 1.0), ("A much weaker one.", 0.5)]) == ["The very best one."]


def test_a_sentence_brings_the_one_it_leans_on() -> None:
    passage = [("The worker stops.", 0.2), ("It then gives back its tasks.", 1.0), ("Lunch is at noon.", 0.1)]

    assert chosen(passage) == ["The worker stops.", "It then gives back its tasks."]


def test_a_repetition_is_passed_over() -> None:
    assert chosen([("Said only once here.", 1.0)], [("Said only once here.", 0.95), ("Something new here.", 0.9)]) == [
        "Said only once here.",
        "Something new here.",
    ]


def test_a_fragment_or_a_bare_lead_in_is_no_answer() -> None:
    passage = [("Yes.", 1.0), ("There are two ways:", 1.0), ("There are two ways:\n- by car", 0.95)]

    assert chosen(passage) == ["There are two ways:\n- by car"]


def test_an_answer_is_a_few_sentences() -> None:
    one, other = ([(f"Sentence {name}{n} is good.", 1.0) for n in range(9)] for name in "ab")

    assert chosen(one, other) == [f"Sentence a{n} is good." for n in range(MOST)]


def test_an_answer_is_short_though_its_first_sentence_is_kept_whatever_its_length() -> None:
    long = "word " * LETTERS

    assert chosen([(long, 1.0), ("One more short sentence.", 1.0)]) == [long]


def test_nothing_comes_of_nothing() -> None:
    assert chosen() == []
