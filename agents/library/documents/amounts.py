"""Amounts of money: a number with a currency beside it, or a number of cents that a label calls money."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from .numbers import NUMBER, WORDS, read_number, read_words

DOLLARS = {"US$": "USD", "C$": "CAD", "CA$": "CAD", "A$": "AUD", "AU$": "AUD", "NZ$": "NZD", "HK$": "HKD"} | {
    "S$": "SGD",
    "R$": "BRL",
    "MX$": "MXN",
}
SYMBOLS = DOLLARS | {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "RS": "INR", "RS.": "INR"}
CODES = ("USD", "EUR", "GBP", "CHF", "CAD", "AUD", "NZD", "JPY", "CNY", "INR", "SEK", "NOK", "DKK", "PLN", "CZK", "BRL")
SCALES = {"thousand": 3, "million": 6, "millions": 6, "billion": 9, "trillion": 12, "mio": 6, "mrd": 9, "bn": 9}
UNITS = {"dollar": "$", "dollars": "$", "euro": "EUR", "euros": "EUR", "pounds sterling": "GBP"}

_SIGN = r"(?<![\w.,])(?P<sign>[-−–]\s?)?"
_MONEY = "|".join([*map(re.escape, sorted(SYMBOLS, key=len, reverse=True)), r"\$", *CODES])
_SCALE = rf"(?:\s?(?P<scale>{'|'.join(SCALES)})\b\.?)?"
_END = r"(?![\d%]|[.,]\d|\s?%)"
_UNIT = r"pounds sterling|dollars?|euros?|cents?"
PREFIXED = re.compile(
    rf"{_SIGN}(?P<money>{_MONEY})\s?(?P<inner>[-−])?(?P<number>{NUMBER}){_SCALE}{_END}", re.IGNORECASE
)
SUFFIXED = re.compile(rf"{_SIGN}(?P<number>{NUMBER}){_SCALE}\s?(?P<money>[€£]|(?:{'|'.join(CODES)})\b)", re.IGNORECASE)
NAMED = re.compile(rf"{_SIGN}(?P<number>{NUMBER}){_SCALE}\s+(?P<money>{_UNIT})\b", re.IGNORECASE)
SPELT = re.compile(rf"(?P<number>{WORDS})\s+(?P<money>{_UNIT})\b", re.IGNORECASE)
BARE = re.compile(
    r"(?<![\w.,/$€£-])(?P<sign>[-−]\s?)?(?P<number>\d{1,3}(?:[.,' ]\d{3})*[.,]\d{2}|\d+[.,]\d{2})(?![\w%./-]|,\d|\s?%)"
)
CELL = re.compile(rf"(?P<open>\()?(?P<sign>[-−])?(?P<number>{NUMBER})\)?")
MONEY_LABEL = re.compile(
    r"\b(?:sub-?total|total|amount|balance|tax|vat|net|gross|price|fee|fees|payment|charges?|due|sum|cost|paid|"
    r"\w*betrag|summe|zwischensumme|gesamt\w*|netto\w*|brutto\w*|mwst|ust|preis|"
    r"montant|total|ttc|ht|tva|prix|solde|importe|iva|precio)\b",
    re.IGNORECASE,
)
MONEY_HEADING = re.compile(
    r"\b(?:amount|price|cost|fee|charges?|\w*betrag|preis|montant|prix|importe|precio|EUR|USD|GBP|CHF)\b|[$€£]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount, its ISO 4217 currency if known, and how sure the reading is."""

    value: Decimal
    currency: str | None
    certainty: float


@dataclass(frozen=True, slots=True)
class Writing:
    """How this document writes money: what a plain $ is, whether 1,50 is one and a half, its only currency if any."""

    dollar: str = "USD"
    comma_decimal: bool | None = None
    only: str | None = None


def find_amounts(text: str, writing: Writing = Writing()) -> Iterator[tuple[int, int, Money]]:
    """Each amount that has its currency beside it, with its place in the text."""
    for pattern in (PREFIXED, SUFFIXED, NAMED):
        for match in pattern.finditer(text):
            money = _money(match, writing, whole=text)
            if money:
                yield match.start(), match.end(), money
    for match in SPELT.finditer(text):
        value = read_words(match["number"])
        if value is not None:
            value, currency = _in_unit(value, match["money"], writing)
            yield match.start(), match.end(), Money(value, currency, 0.9)


def find_bare_amounts(text: str, writing: Writing) -> Iterator[tuple[int, int, Money]]:
    """Numbers with two decimals, for text that a label calls money; the currency is the document's only one."""
    for match in BARE.finditer(text):
        read = read_number(match["number"], writing.comma_decimal)
        if read:
            value = -read[0] if match["sign"] else read[0]
            yield match.start(), match.end(), Money(value, writing.only, 0.7 if writing.only else 0.5)


def find_column_amounts(text: str, currency: str | None, writing: Writing) -> Iterator[tuple[int, int, Money]]:
    """The number that fills a cell, where an amount above it in its column has this currency."""
    match = CELL.fullmatch(text)
    read = read_number(match["number"], writing.comma_decimal) if match else None
    if match and read:
        value = -read[0] if match["open"] or match["sign"] else read[0]
        yield 0, len(text), Money(value, currency, 0.8)


def currencies(text: str) -> set[str]:
    """The ISO codes and symbols that stand beside numbers in the text; a plain $ as '$'."""
    seen = (match["money"].upper() for pattern in (PREFIXED, SUFFIXED) for match in pattern.finditer(text))
    return {SYMBOLS.get(money, money) for money in seen}


def _money(match: re.Match[str], writing: Writing, *, whole: str) -> Money | None:
    read = read_number(match["number"], writing.comma_decimal)
    if read is None:
        return None
    value, sure = read
    parts = match.groupdict()
    if parts.get("scale"):
        value = value.scaleb(SCALES[parts["scale"].lower()])
    value, currency = _in_unit(value, match["money"], writing)
    accounting = whole.strip() == f"({match[0].strip()})"  # a cell of its own; in a sentence it is a parenthesis
    if parts.get("sign") or parts.get("inner") or accounting:
        value = -value
    return Money(value, currency, 0.97 if sure else 0.7)


def _in_unit(value: Decimal, money: str, writing: Writing) -> tuple[Decimal, str | None]:
    unit = money.lower()
    if unit.startswith("cent"):
        return value / 100, writing.only or writing.dollar
    name = UNITS.get(unit, SYMBOLS.get(money.upper(), money.upper()))
    return value, writing.dollar if name == "$" else name
