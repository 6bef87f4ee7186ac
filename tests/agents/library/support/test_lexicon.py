"""Words as a search compares them."""

from __future__ import annotations

import pytest

from agents.library.support.lexicon import Rarity, stem, words


@pytest.mark.parametrize(
    "forms",
    [
        ("die", "dies", "died"),
        ("retry", "retries", "retried", "retrying"),
        ("stop", "stops", "stopped", "stopping"),
        ("lease", "leases", "leasing"),
        ("process", "processes", "processed"),
        ("use", "uses", "used", "using"),
        ("status",),
    ],
)
def test_the_forms_of_a_word_meet(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize(("one", "other"), [("string", "strong"), ("news", "newt"), ("class", "clay"), ("1s", "1")])
def test_other_words_do_not(one: str, other: str) -> None:
    assert stem(one) != stem(other)


def test_common_words_tell_nothing_and_names_are_taken_apart() -> None:
    assert words("What is the max_attempts of a Café?") == ["max", "attempt", "café"]


def test_the_rarer_a_word_the_more_it_tells_and_an_unknown_one_the_most() -> None:
    rarity = Rarity([["common", "rare"], ["common"], ["common"]])

    assert rarity["unknown"] > rarity["rare"] > rarity["common"] > 0


def test_coverage_is_the_share_of_what_was_asked() -> None:
    rarity = Rarity([["common", "rare"], ["common"], ["common"]])

    assert rarity.coverage(["common", "rare"], frozenset(["common", "rare"])) == 1
    assert rarity.coverage(["common", "rare"], frozenset(["rare"])) > 0.5
    assert rarity.coverage(["unknown"], frozenset(["common"])) == 0
    assert rarity.coverage([], frozenset(["common"])) == 0
