"""The names of the months in English, German and French, in full and abbreviated."""

from __future__ import annotations

_NAMES = """
january janvier januar jänner jan janv
february février fevrier februar feb febr févr
march mars märz maerz mar mrz
april avril apr avr
may mai
june juin juni jun
july juillet juli jul juil
august août aout aug
september septembre sept sep
october octobre oktober oct okt
november novembre nov
december décembre decembre dezember dec dez déc
"""

MONTHS = {name: number for number, row in enumerate(_NAMES.strip().splitlines(), start=1) for name in row.split()}


def nearest_month(word: str) -> int | None:
    """The month whose full name has this length and differs in at most one letter; None if two months do."""
    near = {number for name, number in MONTHS.items() if len(name) >= 4 and _differ(name, word.lower()) <= 1}
    return near.pop() if len(near) == 1 else None


def _differ(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True)) if len(a) == len(b) else len(a) + len(b)
