"""Tables without rulings: rows whose numbers end at the same places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .layout import Layout
from .records import Grid, Line

NUMBER = re.compile(r"[-–−(]?[$€£¥]?\s?\d[\d.,' ]*\s?[%€)]?|\(?[–—−-]\)?|\([A-Z]\)|n/?a", re.IGNORECASE)
LEADERS = re.compile(r"(?:\s?[.·…]){2,}\s*$|^[.·…\s]+$")
MIN_ROWS, MIN_NUMBERS = 3, 2
MAX_HEADER_ROWS = 4
TOLERANCE = 4.0  # points by which the right edges of one column may differ
Row = list[Line]


@dataclass(slots=True)
class Column:
    """Where the numbers of a column stand: from the leftmost beginning to their common end."""

    x0: float
    x1: float
    size: int = 1

    def take(self, line: Line) -> None:
        self.x0, self.x1, self.size = min(self.x0, line.x0), max(self.x1, line.x1), self.size + 1


def aligned_grids(lines: Sequence[Line]) -> tuple[Grid, ...]:
    """The tables among the lines of a page, from the top."""
    rows = [row for places in Layout(lines).rows() if (row := _without_leaders([lines[n] for n in places]))]
    return tuple(grid for start, end in _blocks(rows) if (grid := _grid(rows, start, end)) is not None)


def _without_leaders(row: Row) -> Row:
    """The row without the dots that lead from its label to its numbers."""
    kept = [line for line in row if not LEADERS.fullmatch(line.text)]
    if len(kept) == len(row):
        return row
    return [line.model_copy(update={"text": line.text.rstrip(" .·…")}) for line in kept]


def _blocks(rows: list[Row]) -> list[tuple[int, int]]:
    """Runs of rows that hold numbers, bridged over single lines of text such as a label of two lines."""
    blocks: list[tuple[int, int]] = []
    start: int | None = None
    end = 0
    for n, row in enumerate(rows):
        far = n > 0 and row[0].y0 - rows[n - 1][0].y1 > 2.5 * row[0].height
        if start is not None and (far or not (_is_numeric(row) or len(row) == 1)):
            blocks.append((start, end))
            start = None
        if _is_numeric(row):
            start, end = (n if start is None else start), n + 1
    return [*blocks, (start, end)] if start is not None else blocks


def _grid(rows: list[Row], start: int, end: int) -> Grid | None:
    block = rows[start:end]
    columns = _columns(block)
    numeric = [row for row in block if _is_numeric(row)]
    if len(columns) < MIN_NUMBERS or len(numeric) < MIN_ROWS:
        return None
    cells = [_cells(row, columns) for row in block]
    full = [row for row in cells if sum(cell != "" for cell in row[1:]) >= MIN_NUMBERS]
    fit = sum(cell != "" for row in full for cell in row[1:]) / (len(full) * len(columns)) if full else 0.0
    if len(full) < MIN_ROWS or fit < 0.6 or _distinct(full) < MIN_NUMBERS:
        return None
    # Labels of many lines are often the text of another column of the page.
    clear = sum("\n" not in row[0] for row in full) / len(full)
    confidence = min(line.confidence for row in block for line in row) * (0.4 + 0.6 * clear)
    header = _header(rows[max(0, start - MAX_HEADER_ROWS) : start], block[0], columns)
    return Grid(rows=(*header, *cells), confidence=round(0.8 * fit * confidence, 3))


def _columns(block: list[Row]) -> list[Column]:
    """The places where the numbers of several rows end."""
    columns: list[Column] = []
    for line in sorted((line for row in block for line in row if _is_number(line.text)), key=lambda line: line.x1):
        if columns and line.x1 - columns[-1].x1 <= TOLERANCE:
            columns[-1].take(line)
        else:
            columns.append(Column(line.x0, line.x1))
    need = max(MIN_ROWS, 0.3 * max((column.size for column in columns), default=0))
    return [column for column in columns if column.size >= need]


def _cells(row: Row, columns: list[Column]) -> tuple[str, ...]:
    """The row's label, then the cell at each column; what ends at no column belongs to the label."""
    cells = [""] * (len(columns) + 1)
    for line in row:
        near = [n for n, column in enumerate(columns, start=1) if abs(column.x1 - line.x1) <= 2 * TOLERANCE]
        _add(cells, near[0] if near and _is_number(line.text) else 0, line.text)
    return tuple(cells)


def _header(above: list[Row], first: Row, columns: list[Column]) -> list[tuple[str, ...]]:
    """One row of headings from the rows right above, as long as each heading stands over a single column."""
    cells = [""] * (len(columns) + 1)
    top = first[0].y0
    headings: list[Row] = []
    for row in reversed(above):
        places = [_over(line, columns) for line in row]
        if top - row[0].y1 > 1.5 * row[0].height or None in places or not any(places):
            break
        headings.insert(0, row)
        top = row[0].y0
    for row in headings:
        for line in row:
            _add(cells, _over(line, columns) or 0, line.text)
    return [tuple(cells)] if headings else []


def _over(line: Line, columns: list[Column]) -> int | None:
    """The column under a heading, 0 for the labels' side, None where it spans several."""
    under = [n for n, column in enumerate(columns, start=1) if line.x0 < column.x1 and line.x1 > column.x0]
    return (under[0] if under else 0) if len(under) < 2 else None


def _add(cells: list[str], at: int, text: str) -> None:
    text = LEADERS.sub("", text).strip()
    cells[at] = f"{cells[at]}\n{text}" if cells[at] and text else cells[at] or text


def _distinct(rows: list[tuple[str, ...]]) -> int:
    """How many columns say something of their own: line numbers, and a column repeated, do not."""
    columns = {tuple(row[n] for row in rows if row[n]) for n in range(1, len(rows[0]))}
    return sum(len(column) >= MIN_ROWS and not _counts_up(column) for column in columns)


def _counts_up(column: tuple[str, ...]) -> bool:
    numbers = [int(digits) for cell in column if (digits := cell.strip("-– ")).isdecimal()]
    steps = [b - a for a, b in pairwise(numbers)]
    return len(numbers) == len(column) and sum(0 < step <= 5 for step in steps) >= 0.7 * len(steps)


def _is_numeric(row: Row) -> bool:
    return sum(_is_number(line.text) for line in row) >= MIN_NUMBERS


def _is_number(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None
