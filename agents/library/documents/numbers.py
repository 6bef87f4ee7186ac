"""Numbers as people write them: 1,234.56 and 1.234,56, with blanks or apostrophes, or in English words."""

from __future__ import annotations

import re
from decimal import Decimal

# Groups of three (or, in India, of two before the last three), else plain digits; then one decimal part.
NUMBER = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d{1,3}(?:[ '’]\d{3})+(?:[.,]\d{1,2})?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?|\d+(?:[.,]\d+)?)"
)

_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen
"""
_TENS = """
twenty thirty forty fifty sixty seventy eighty ninety
"""
_SMALL = {word: number for number, word in enumerate(_ONES.split())}
_SMALL |= {word: 10 * number for number, word in enumerate(_TENS.split(), start=2)}
_LARGE = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}

_WORD = "(?:" + "|".join(sorted([*_SMALL, *_LARGE, "hundred"], key=len, reverse=True)) + ")"
WORDS = rf"(?<![\w-]){_WORD}(?:(?:\s+and\s+|[\s-]+){_WORD})*"


def read_number(text: str, comma_decimal: bool | None = None) -> tuple[Decimal, bool] | None:
    """The value, and whether it leaves no doubt: 1,234 and 1.234 do, unless the document's other numbers tell."""
    digits = re.sub(r"[\s'’]", "", text)
    if not re.fullmatch(r"\d+(?:[.,]\d+)*", digits):
        return None
    marks = re.findall(r"[.,]", digits)
    if not marks:
        return Decimal(digits), True
    last = marks[-1]
    after = len(digits) - digits.rfind(last) - 1
    if len(set(marks)) == 2:
        return (_decimal(digits, last), True) if marks.count(last) == 1 else None
    if len(marks) > 1:
        return (Decimal(digits.replace(last, "")), True) if after == 3 else None
    if after != 3 or digits.startswith("0"):
        return _decimal(digits, last), True
    groups = comma_decimal is None or comma_decimal == (last == ".")
    return (
        Decimal(digits.replace(last, "")) if groups else _decimal(digits, last)
    ), last == "," or comma_decimal is True


def comma_is_decimal(text: str) -> int:
    """Votes for 1.234,56 (above 0) or 1,234.56 (below 0) among numbers that leave no doubt."""
    commas = len(re.findall(r"(?<![\d.,])\d{1,3}(?:[. ]\d{3})*,\d{2}(?![\d.,])", text))
    points = len(re.findall(r"(?<![\d.,])\d{1,3}(?:,\d{3})*\.\d{2}(?![\d.,])", text))
    return commas - points


def read_words(text: str) -> Decimal | None:
    """The value of English number words such as 'two hundred and fifty thousand'; None if they are not one number."""
    total = part = 0
    for word in re.split(r"[\s-]+", text.lower()):
        if word in _SMALL:
            part += _SMALL[word]
        elif word == "hundred":
            part = (part or 1) * 100
        elif word in _LARGE:
            total, part = total + (part or 1) * _LARGE[word], 0
        elif word != "and":
            return None
    return Decimal(total + part)


def _decimal(digits: str, mark: str) -> Decimal:
    other = "," if mark == "." else "."
    return Decimal(digits.replace(other, "").replace(mark, "."))
