"""How much is read at once: a page ends with the row that brings it to so many bytes, however few rows it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from .store import Past, SignalRow, StepRow
from .task import Ref, Step, Task

PAGE_BYTES = 8 * 2**20
ROW_BYTES = 256  # what a row has beside what users sent, about
ALL = 2**62  # room for whatever there is

Row = TypeVar("Row")
PastRow = TypeVar("PastRow", StepRow, SignalRow)


def size(text: str | None) -> int:
    """Its bytes in UTF-8."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def weight(task: Task) -> int:
    """What users sent of it, in bytes."""
    return size(task.input) + size(task.output) + size(task.error)


def cut(rows: Iterable[Row], weigh: Callable[[Row], int]) -> list[Row]:
    """The rows of the first page."""
    page, left = [], PAGE_BYTES
    for row in rows:
        page.append(row)
        left -= weigh(row)
        if left <= 0:
            break
    return page


def is_cut(page: Iterable[Row], weigh: Callable[[Row], int]) -> bool:
    """Whether the page may have ended for its bytes, and there are more rows."""
    return sum(map(weigh, page)) >= PAGE_BYTES


def heft(row: Step | StepRow | SignalRow) -> int:
    """What a step or a signal has, in bytes."""
    return ROW_BYTES + size(row.payload if isinstance(row, SignalRow) else row.value)


def fitting(rows: Iterable[PastRow], room: int) -> list[PastRow] | None:
    """The rows, None where they have more than that."""
    found = []
    for row in rows:
        found.append(row)
        room -= heft(row)
        if room < 0:
            return None
    return found


def whole(past: Past) -> int:
    """What all rows of a past have."""
    return sum(map(heft, past.steps)) + sum(map(heft, past.signals))


def within(pasts: Iterable[tuple[Ref, Past]], room: int) -> dict[Ref, Past]:
    """The first of them that have no more than that together."""
    found: dict[Ref, Past] = {}
    for ref, past in pasts:
        room -= whole(past)
        if room < 0:
            break
        found[ref] = past
    return found
