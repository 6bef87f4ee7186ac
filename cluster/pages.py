"""How much is read at once: a page ends with the row that brings it to so many bytes, however few rows it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from .task import Task

PAGE_BYTES = 8 * 2**20

Row = TypeVar("Row")


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


def is_cut(tasks: Iterable[Task]) -> bool:
    """Whether the page may have ended before its number of rows was reached."""
    return sum(map(weight, tasks)) >= PAGE_BYTES
