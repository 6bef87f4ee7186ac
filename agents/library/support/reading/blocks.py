"""A document as the reader's eye takes it in: blocks of text, each under its headings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prose", "item", "row", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table row or piece of code, and the lines it stands on (counted from 1)."""

    kind: Kind
    text: str
    heading: tuple[str, ...]
    first_line: int
    last_line: int


def under(path: Sequence[tuple[int, str]], level: int, title: str) -> list[tuple[int, str]]:
    """The path of headings once a heading of this level was met: it replaces its equals and all below them."""
    return [(above, text) for above, text in path if above < level] + [(level, title)]


def titles(path: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(title for _, title in path)


def table_row(header: Sequence[str], cells: Sequence[str]) -> str:
    """A row of a table as a line that makes sense on its own: `queued: waits for a worker`.

    From three columns on each cell is named by its column: `crash: real time an error; background it resumes`.
    """
    first, *rest = [" ".join(cell.split()) for cell in cells] or [""]
    named = len(header) == len(cells) > 2
    said = [f"{header[at]} {cell}".strip() if named else cell for at, cell in enumerate(rest, start=1) if cell]
    return ": ".join(part for part in (first, "; ".join(said)) if part)
