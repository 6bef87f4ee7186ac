"""Which known name a wrong one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

LIKE = 0.6  # from this likeness on a name is worth suggesting


def by_likeness(name: str, known: Iterable[str]) -> list[str]:
    """The known names, the one most like `name` first; equally like ones by alphabet."""
    return sorted(known, key=lambda other: (-_likeness(name, other), other))


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is much like this one, else nothing."""
    best = by_likeness(name, known)[:1]
    return f"; did you mean {best[0]!r}?" if best and _likeness(name, best[0]) >= LIKE else ""


def _likeness(name: str, other: str) -> float:
    return SequenceMatcher(None, name[:64].lower(), other.lower(), autojunk=False).ratio()
