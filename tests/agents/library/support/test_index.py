"""What a search finds."""

from __future__ import annotations

import numpy as np
import pytest

from agents.library.support.index import Index, fuse


@pytest.mark.parametrize(
    ("question", "file", "says"),
    [
        ("How much is an electric bike for a week?", "handbook/booking.md", "160 EUR"),
        ("velo cancel", "handbook/booking.md", "velo cancel 123456"),  # by its words
        ("When do I get my money back?", "handbook/booking.md", "refund"),  # by its meaning
        ("My bike was stolen, what now?", "handbook/service.html", "police"),
        ("I have a puncture", "handbook/service.html", "hotline"),
        ("How long does charging take?", "handbook/bikes/care.txt", "four hours"),
    ],
)
def test_the_first_passage_found_holds_the_answer(handbook: Index, question: str, file: str, says: str) -> None:
    first = handbook.search(question)[0]

    assert first.passage.file == file
    assert says in first.passage.text
    assert first.confidence >= 0.5


@pytest.mark.parametrize("question", ["???", "the of and", "日本", "\0", "x" * 2000])
def test_a_question_without_a_known_word_is_searched_by_meaning_alone(handbook: Index, question: str) -> None:
    found = handbook.search(question)

    assert found
    assert all(each.coverage == 0 and each.confidence < 0.5 for each in found)


def test_a_passage_that_the_index_does_not_hold_is_weighed_all_the_same(handbook: Index) -> None:
    known = handbook.search("When do I get my money back?")[0].passage
    older = known.model_copy(update={"file": "handbook/older.md"})

    one, other = (handbook.weigh("refund", passage) for passage in (known, older))

    assert [each.text for each in one] == [each.text for each in other]
    assert np.allclose([each.similarity for each in one], [each.similarity for each in other], atol=1e-3)


def test_fusion_prefers_what_both_rankings_know() -> None:
    by_words, by_meaning = np.array([9.0, 5.0, 0.0, 4.0]), np.array([0.1, 0.8, 0.9, 0.5])

    assert fuse((1, by_words), (1, by_meaning))[0] == 1


def test_fusion_leaves_out_what_neither_knows_and_heeds_the_weights() -> None:
    one, other = np.array([2.0, 1.0, 0.0]), np.array([1.0, 2.0, -0.5])

    assert fuse((1, one), (3, other)) == [1, 0]
    assert fuse((3, one), (1, other)) == [0, 1]
