"""What the page says a value is: the words before it, beside it or above it."""

from __future__ import annotations

import re
from typing import Any

from .amounts import MONEY_HEADING, MONEY_LABEL
from .layout import Layout, Spot

WORDS = re.compile(
    r"\b(?:date|dated|due|issued|expir\w+|effective|period|valid|until|since|born|number|no|page|"
    r"datum|fällig|gültig|échéance|"
    r"from|to)\b",
    re.IGNORECASE,
)
MOST_WORDS = 6
MOST_CELLS_LEFT = 8
MOST_CELLS_ABOVE = 40
ROW, ALIGNED = 3.0, 4.0  # line heights from one row of a table up to the next; points by which right edges may differ
REACH = 5.0  # line heights from one cell of a column up to the next


def label_of(layout: Layout, found: Spot[Any]) -> str:
    """The label of a value, '' where there is none: its sentence so far, a cell to the left, or a line above."""
    line = layout.lines[found.line]
    before = _tail(line.text[: found.start])
    if before:
        return before
    left = layout.left(found.line)
    if left is not None and _is_label(layout.lines[left].text):
        return _tail(layout.lines[left].text)
    above = layout.above(found.line)
    if above is None:
        return ""
    over = layout.lines[above]
    goes_on = abs(over.x0 - line.x0) < 2 * line.height and len(line.text) > found.start + len(found.text)
    return _tail(over.text) if goes_on or _is_label(over.text) else ""


def is_called_money(layout: Layout, found: Spot[Any]) -> bool:
    """Whether words before the value on its row, or the heading of its column, speak of money."""
    row = [layout.lines[found.line].text[: found.start]]
    at = layout.left(found.line)
    while at is not None and len(row) <= MOST_CELLS_LEFT:
        row.append(layout.lines[at].text)
        at = layout.left(at)
    return (
        any(MONEY_LABEL.search(text) for text in row) or MONEY_HEADING.search(_heading(layout, found.line)) is not None
    )


def cell_above(layout: Layout, n: int) -> int | None:
    """The cell over this one in a column whose cells end at the same place."""
    at = layout.above(n, ROW)
    return at if at is not None and abs(layout.lines[at].x1 - layout.lines[n].x1) <= ALIGNED else None


def _heading(layout: Layout, n: int) -> str:
    """The first line above that holds more than a number, in the same column."""
    at: int | None = n
    for _ in range(MOST_CELLS_ABOVE):
        at = layout.above(at, REACH) if at is not None else None
        if at is not None and any(character.isalpha() for character in layout.lines[at].text):
            return layout.lines[at].text
    return ""


def _is_label(text: str) -> bool:
    short = len(text.split()) <= MOST_WORDS
    return text.rstrip().endswith(":") or (short and bool(WORDS.search(text) or MONEY_LABEL.search(text)))


def _tail(text: str) -> str:
    """The last words of the sentence, without leaders and colons."""
    clause = re.split(r"(?<=[;!?])\s|(?<=[a-z)]\.)\s", text)[-1]
    words = re.sub(r"[\s.:·…]+$", "", clause).split()
    label = " ".join(words[-MOST_WORDS:]).strip(" -–—([,:*•●")
    return label if any(character.isalpha() for character in label) else ""
