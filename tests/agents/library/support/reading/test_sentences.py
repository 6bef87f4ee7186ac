"""Where sentences end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.library.support.reading.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Use e.g. This or i.e. That, etc. and go on.", ["Use e.g. This or i.e. That, etc. and go on."]),
        ("Ask Dr. Smith or J. Doe. They know.", ["Ask Dr. Smith or J. Doe.", "They know."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Version 2.60 is out. 3 people use it.", ["Version 2.60 is out.", "3 people use it."]),
        ("Run rubato.toml first. (It is there.) Then go.", ["Run rubato.toml first.", "(It is there.)", "Then go."]),
        ("See p. 4 for more", ["See p. 4 for more"]),
        ("So do I. You too.", ["So do I.", "You too."]),
        ("", []),
    ],
)
def test_a_sentence_ends_at_its_mark_and_not_at_an_abbreviation(text: str, expected: list[str]) -> None:
    assert list(sentences(text)) == expected


@given(st.text())
def test_no_letter_is_lost(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
