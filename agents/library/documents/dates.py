"""Dates as people write them in English, German and French, read as ISO 8601."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .months import MONTHS, nearest_month

NAMES = "|".join(sorted(MONTHS, key=len, reverse=True))
MONTH = rf"(?<![^\W\d_])(?P<month>{NAMES})(?![^\W\d_])\.?"
DAY = r"(?P<day>\d{1,2})"
ORDINAL = r"(?:\s?(?:st|nd|rd|th|d|er|ter|\.|º|°))?"
YEAR = r"(?P<year>(?:1[5-9]|20|21)\d\d)(?!\d)"
ALONE = r"(?<![\w/.,-])(?<!\$)"

FLAGS = re.IGNORECASE
ISO = re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})(?!\d|-\d)")
BIG_END = re.compile(ALONE + r"(?P<year>(?:1[5-9]|20|21)\d\d)([/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})(?!\d|[/.]\d)")
DIGITS = re.compile(
    r"(?<![\w/.,$])(?P<a>\d{1,2})(?P<sep>[/.-])\s?(?P<b>\d{1,2})(?P=sep)\s?(?P<year>\d{4}|\d{2})"
    r"(?:(?=\d\d?:\d\d)|(?!\d|,\d|(?P=sep)\d))"  # OCR drops the blank before a time
)
MONTH_DAY_YEAR = re.compile(MONTH + rf"\s*{DAY}{ORDINAL}(?:\s*,\s*|\s+){YEAR}", FLAGS)
YEAR_MONTH_DAY = re.compile(rf"(?<!\w){YEAR}\s*{MONTH}\s*{DAY}(?!\d)", FLAGS)
DAY_MONTH_YEAR = re.compile(ALONE + rf"{DAY}{ORDINAL}[\s/-]*(?:of\s+)?{MONTH}[\s,/-]*{YEAR}", FLAGS)
MONTH_YEAR = re.compile(MONTH + rf"(?:\s*,)?\s+(?:of\s+)?{YEAR}", FLAGS)
MONTH_DAY = re.compile(MONTH + rf"\s*{DAY}(?P<nth>{ORDINAL})(?![\w%]|[.,:/-]\d)", FLAGS)
DAY_MONTH = re.compile(ALONE + rf"{DAY}(?P<nth>{ORDINAL})\s+(?:of\s+)?{MONTH}(?!\s*\d)", FLAGS)
DIGITS_MONTH = re.compile(r"(?<![\d/.-])(?P<month>0[1-9]|1[0-2])/(?P<year>(?:19|20)\d\d)(?![\d/])")
ISO_MONTH = re.compile(r"(?<![\w-])(?P<year>(?:19|20)\d\d)-(?P<month>0[1-9]|1[0-2])(?![\w-])")
SMUDGED = re.compile(rf"(?<!\w)(?P<month>[^\W\d_]{{3,9}})\s*{DAY}(?P<nth>[^\W\d_]{{2}})?(?:,?\s+{YEAR})?(?!\w)", FLAGS)
CALLED_DATE = re.compile(r"\b(?:date|edition|version|rev\w*|updated?|dated|period|month|since|from|to)[\s:.(]*$", FLAGS)
RANGE = re.compile(r"\s*(?:[–—-]|to|through|until|and|bis|und|au|et)\s*$", FLAGS)


@dataclass(frozen=True, slots=True)
class Dated:
    """A date in ISO 8601 and how sure its reading is, given that the text is as it was read."""

    value: str
    certainty: float


@dataclass(frozen=True, slots=True)
class Reading:
    """How this document writes: `day_first` decides 04/05/2016, `smudged` allows one wrong letter in a month."""

    day_first: bool | None = None
    smudged: bool = False


def find_dates(text: str, reading: Reading = Reading()) -> Iterator[tuple[int, int, Dated]]:
    """Each date with its place in the text; the longer of two that overlap."""
    found = [*_written(text), *_numeric(text, reading), *(_smudged(text) if reading.smudged else ())]
    end = 0
    kept = []
    for start, stop, dated in sorted(found, key=lambda f: (f[0], -f[1], -f[2].certainty)):
        if start >= end:
            kept.append((start, stop, dated))
            end = stop
    yield from _with_years(text, kept)


def day_comes_first(text: str) -> int:
    """Votes for day-first (above 0) or month-first (below 0) in numeric and written dates that leave no doubt."""
    votes = 0
    for match in DIGITS.finditer(text):
        a, b = int(match["a"]), int(match["b"])
        votes += (a > 12 >= b) - (b > 12 >= a)
    votes += sum(1 for _ in DAY_MONTH_YEAR.finditer(text))
    return votes - sum(1 for _ in MONTH_DAY_YEAR.finditer(text))


def _written(text: str) -> Iterator[tuple[int, int, Dated]]:
    for pattern in (MONTH_DAY_YEAR, YEAR_MONTH_DAY, DAY_MONTH_YEAR):
        for match in pattern.finditer(text):
            value = _full(int(match["year"]), MONTHS[match["month"].lower()], int(match["day"]))
            if value:
                yield match.start(), match.end(), Dated(value, 0.99)
    for match in MONTH_YEAR.finditer(text):
        if _is_name(match["month"]):
            yield match.start(), match.end(), Dated(f"{match['year']}-{MONTHS[match['month'].lower()]:02}", 0.95)
    for pattern in (MONTH_DAY, DAY_MONTH):
        for match in pattern.finditer(text):
            value = _yearless(MONTHS[match["month"].lower()], int(match["day"]))
            if value and _is_name(match["month"]):
                yield match.start(), match.end(), Dated(value, 0.9 if match["nth"] else 0.8)


def _numeric(text: str, reading: Reading) -> Iterator[tuple[int, int, Dated]]:
    for pattern in (ISO, BIG_END):
        for match in pattern.finditer(text):
            value = _full(int(match["year"]), int(match["month"]), int(match["day"]))
            if value:
                yield match.start(), match.end(), Dated(value, 0.99)
    for match in DIGITS.finditer(text):
        dated = _day_and_month(match, reading.day_first)
        if dated and not _belongs_before(match):
            yield match.start(), match.end(), dated
    for match in DIGITS_MONTH.finditer(text):
        yield match.start(), match.end(), Dated(f"{match['year']}-{match['month']}", 0.7)
    for match in ISO_MONTH.finditer(text):
        if _is_year_and_month(match):
            yield match.start(), match.end(), Dated(f"{match['year']}-{match['month']}", 0.6)


def _is_year_and_month(match: re.Match[str]) -> bool:
    """2010-11 is more often two years, and Bulletin 1997-10 an issue; what stands alone or is called a date counts."""
    before = match.string[: match.start()]
    if (int(match["year"]) + 1) % 100 == int(match["month"]):
        return False
    return match[0] == match.string.strip() or CALLED_DATE.search(before) is not None


def _belongs_before(match: re.Match[str]) -> bool:
    """Whether a hyphen ties the digits to what is before them; in 01.05.14-31.05.14 it is a dash between two dates."""
    before = match.string[: match.start()]
    return before.endswith("-") and (match["sep"] == "-" or not before[:-1][-1:].isdigit())


def _day_and_month(match: re.Match[str], day_first: bool | None) -> Dated | None:
    a, b, separator = int(match["a"]), int(match["b"]), match["sep"]
    short = len(match["year"]) == 2
    if short and separator != "/" and not (len(match["a"]) == len(match["b"]) == 2):
        return None  # 1.2.99 is a section or a version, 3-4-10 a range
    year = _century(int(match["year"])) if short else int(match["year"])
    first = True if separator == "." else day_first
    day, month = (a, b) if a > 12 or (b <= 12 and first) else (b, a)
    value = _full(year, month, day) if 1500 <= year < 2200 else None
    doubt = a <= 12 and b <= 12 and a != b and separator != "."
    certainty = (0.5 if day_first is None else 0.8) if doubt else 0.99
    return Dated(value, certainty * (0.9 if short else 1.0)) if value else None


def _smudged(text: str) -> Iterator[tuple[int, int, Dated]]:
    """Dates of an OCR page whose month has one wrong letter; an ordinal or a year must vouch for it."""
    for match in SMUDGED.finditer(text):
        month, day = nearest_month(match["month"]), int(match["day"])
        if month is None or not (match["nth"] or match["year"]):
            continue
        value = _full(int(match["year"]), month, day) if match["year"] else _yearless(month, day)
        if value:
            yield match.start(), match.end(), Dated(value, 0.5)


def _with_years(text: str, found: list[tuple[int, int, Dated]]) -> Iterator[tuple[int, int, Dated]]:
    """In 'January 1 to December 31, 2007' the year belongs to both; the first date then ends with the second."""
    for n, (start, stop, dated) in enumerate(found):
        after = found[n + 1] if n + 1 < len(found) else None
        if after and dated.value.startswith("--") and re.match(r"\d{4}-\d\d-\d\d", after[2].value):
            between = text[stop : after[0]]
            value = f"{after[2].value[:4]}{dated.value[1:]}"
            if RANGE.fullmatch(between) and value <= after[2].value:
                yield start, stop, Dated(value, 0.8)
                continue
        yield start, stop, dated


def _is_name(month: str) -> bool:
    """Whether the word is a month's name: 'May' and 'mai' are, 'may' and 'march' are verbs."""
    return month[0].isupper() or month.lower() in FRENCH


FRENCH = {
    "janvier",
    "février",
    "fevrier",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "aout",
    "septembre",
    "octobre",
} | {
    "novembre",
    "décembre",
    "decembre",
}


def _full(year: int, month: int, day: int) -> str | None:
    try:
        return dt.date(year, month, day).isoformat()
    except ValueError:
        return None


def _yearless(month: int, day: int) -> str | None:
    return f"--{month:02}-{day:02}" if _full(2000, month, day) else None


def _century(year: int) -> int:
    return year + (2000 if year < 69 else 1900)
