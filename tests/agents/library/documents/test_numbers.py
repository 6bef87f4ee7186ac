"""Numbers of both conventions, and in words."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agents.library.documents.numbers import comma_is_decimal, read_number, read_words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", "5"),
        ("1,234.56", "1234.56"),
        ("1.234,56", "1234.56"),
        ("1 234,56", "1234.56"),
        ("1'234.50", "1234.50"),
        ("117,300", "117300"),
        ("1,000,000", "1000000"),
        ("3.441.812", "3441812"),
        ("12,34,567.00", "1234567.00"),
        ("1.39", "1.39"),
        ("34,73", "34.73"),
        ("0,5", "0.5"),
        ("0.125", "0.125"),
        ("11062.6", "11062.6"),
    ],
)
def test_a_number_is_read_whatever_its_marks(text: str, value: str) -> None:
    read = read_number(text)

    assert read is not None
    assert read[0] == Decimal(value)


@pytest.mark.parametrize("text", ["", "1,2,3.4.5", "1.23.45", "abc", "12,34,56"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert read_number(text) is None


def test_a_single_point_before_three_digits_follows_the_document_and_is_in_doubt_without_it() -> None:
    assert read_number("1.234", comma_decimal=True) == (Decimal(1234), True)
    assert read_number("1.234", comma_decimal=False) == (Decimal("1.234"), False)
    assert read_number("1.234") == (Decimal(1234), False)
    assert read_number("1,234") == (Decimal(1234), True)


def test_other_numbers_vote_on_the_decimal_mark() -> None:
    assert comma_is_decimal("5,39 und 1.234,56") > 0
    assert comma_is_decimal("5.39 and 1,234.56") < 0
    assert comma_is_decimal("1,234 and 5") == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("thirteen", 13),
        ("twenty-five", 25),
        ("two hundred and fifty thousand", 250_000),
        ("one million two hundred thousand", 1_200_000),
        ("hundred", 100),
    ],
)
def test_number_words_are_read(text: str, value: int) -> None:
    assert read_words(text) == value
