"""Amounts with their currency, and numbers that are no money."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agents.library.documents.amounts import Writing, currencies, find_amounts, find_bare_amounts

PLAIN = Writing()


def found(text: str, writing: Writing = PLAIN) -> list[tuple[str, str | None]]:
    return [(format(money.value, "f"), money.currency) for _, _, money in find_amounts(text, writing)]


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("up to a $500,000 fine", "500000", "USD"),
        ("($2,500 for section", "2500", "USD"),
        ("$1.39", "1.39", "USD"),
        ("$\n5,350", "5350", "USD"),
        ("US$ 12.50", "12.50", "USD"),
        ("C$20", "20", "CAD"),
        ("€ 1.234,56", "1234.56", "EUR"),
        ("1.234,56 €", "1234.56", "EUR"),
        ("15,00 EUR", "15.00", "EUR"),
        ("29.99 € TTC", "29.99", "EUR"),
        ("EUR 1 234,56", "1234.56", "EUR"),
        ("CHF 1'234.50", "1234.50", "CHF"),
        ("£3.50", "3.50", "GBP"),
        ("Rs 1939 x 1 Night", "1939", "INR"),
        ("$2.5 million", "2500000.0", "USD"),
        ("3,5 Mio. €", "3500000.0", "EUR"),
        ("-$40.00", "-40.00", "USD"),
        ("Rs -40.00", "-40.00", "INR"),
        ("($5,000.00)", "-5000.00", "USD"),
        ("3.441.812 Euros", "3441812", "EUR"),
        ("20 dollars", "20", "USD"),
        ("thirteen dollars a month", "13", "USD"),
        ("two hundred and fifty euros", "250", "EUR"),
        ("a dividend of 10 cents", "0.1", "USD"),
    ],
)
def test_an_amount_is_read_with_its_currency(text: str, value: str, currency: str) -> None:
    amounts = found(text)

    assert [(Decimal(amount), code) for amount, code in amounts] == [(Decimal(value), currency)]


@pytest.mark.parametrize(
    "text", ["11,062.6", "12.5 %", "$5%", "page 15", "Form 1040", "401(k)(11)", "EUROPE 2016", "10,000 shares", "$"]
)
def test_a_number_without_a_currency_is_no_amount(text: str) -> None:
    assert found(text) == []


def test_both_ends_of_a_price_range_are_positive() -> None:
    assert found("$5-$10") == [("5", "USD"), ("10", "USD")]


def test_a_plain_dollar_is_the_documents_dollar() -> None:
    assert found("$20", Writing(dollar="CAD")) == [("20", "CAD")]


def test_cents_are_of_the_documents_currency() -> None:
    assert found("50 cents", Writing(only="EUR")) == [("0.5", "EUR")]


def test_a_bare_number_of_cents_takes_the_documents_only_currency_and_says_less_surely() -> None:
    with_currency = list(find_bare_amounts("34,73", Writing(comma_decimal=True, only="EUR")))
    without = list(find_bare_amounts("34,73", Writing()))

    assert [(m.value, m.currency) for _, _, m in with_currency] == [(Decimal("34.73"), "EUR")]
    assert [(m.value, m.currency) for _, _, m in without] == [(Decimal("34.73"), None)]
    assert without[0][2].certainty < with_currency[0][2].certainty < 0.97


@pytest.mark.parametrize("text", ["14.50%", "19,00 %", "12.345", "1.2.34", "14:30", "v2.10.1", "10.12.2014"])
def test_a_rate_a_version_or_a_date_is_no_bare_amount(text: str) -> None:
    assert list(find_bare_amounts(text, Writing())) == []


def test_the_currencies_of_a_text_are_those_beside_numbers() -> None:
    assert currencies("$5 and 3 € but not GBP alone") == {"$", "EUR"}
