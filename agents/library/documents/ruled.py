"""Tables whose cells are drawn with lines, found by pdfplumber."""

from __future__ import annotations

import io
import logging

from .pdf import LOCK
from .records import Grid

MIN_CELLS, MAX_CELLS = 6, 4000
MAX_LINES = 8  # in one cell


Box = tuple[float, float, float, float]


def ruled_grids(data: bytes, number: int) -> list[tuple[Grid, Box]]:
    """The ruled tables of a page and where they are; none where pdfplumber cannot read a page that pdfium could."""
    import pdfplumber

    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    with LOCK:
        try:
            with pdfplumber.open(io.BytesIO(data), pages=[number]) as pdf:
                page = pdf.pages[0]
                left, top = page.cropbox[:2]
                tables = [
                    (table.extract(), table.bbox) for table in page.crop(page.cropbox, strict=False).find_tables()
                ]
        except Exception:  # noqa: BLE001 - a second, stricter parser: whatever it trips over costs only the tables
            return []
    boxes = ((_grid(rows), (x0 - left, y0 - top, x1 - left, y1 - top)) for rows, (x0, y0, x1, y1) in tables)
    return [(grid, box) for grid, box in boxes if grid is not None]


def _grid(rows: list[list[str | None]]) -> Grid | None:
    """The table without empty rows and columns; None for a box around text, which is no table."""
    cells = [["" if cell is None else _tidy(cell) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    width = max((len(row) for row in cells), default=0)
    padded = [row + [""] * (width - len(row)) for row in cells]
    used = [n for n in range(width) if any(row[n] for row in padded)]
    kept = [tuple(row[n] for n in used) for row in padded]
    filled = sum(cell != "" for row in kept for cell in row)
    size = len(kept) * len(used)
    if min(len(kept), len(used)) < 2 or size < MIN_CELLS or filled < 0.6 * size or filled > MAX_CELLS:
        return None
    if any(cell.count("\n") >= MAX_LINES for row in kept for cell in row):
        return None  # only its columns are ruled: its rows are found by how they are aligned
    return Grid(rows=tuple(kept), confidence=0.9)


def _tidy(cell: str) -> str:
    return "\n".join(" ".join(line.split()) for line in cell.splitlines() if line.strip())
