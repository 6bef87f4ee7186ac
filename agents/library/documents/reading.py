"""One page of a document as lines and tables: from its text layer, else by recognising its picture."""

from __future__ import annotations

from . import images, pdf
from .aligned import aligned_grids
from .ocr import LONGEST_SIDE, Recogniser
from .records import Grid, Line, Opened, Page
from .ruled import Box, ruled_grids


def read_page(data: bytes, opened: Opened, number: int, recogniser: Recogniser) -> Page:
    """What stands on page `number`. Raises DamagedDocument where it cannot be read."""
    if opened.kind == "image":
        picture, unit = images.frame(data, number, LONGEST_SIDE)
        return _recognised(number, recogniser.lines(picture, unit))
    with pdf.page(data, number, filled=True) as loaded:
        lines = pdf.text_lines(loaded)
        ruled = ruled_grids(data, number) if lines is not None and pdf.has_rulings(loaded) else []
    if lines is not None:
        return _typed(number, lines, ruled)
    with pdf.page(data, number) as loaded:  # again, for the filled page may be drawn without what it covers
        picture, unit = pdf.picture(loaded, LONGEST_SIDE)
    return _recognised(number, recogniser.lines(picture, unit))


def _typed(number: int, lines: tuple[Line, ...], ruled: list[tuple[Grid, Box]]) -> Page:
    outside = [line for line in lines if not any(_inside(line, box) for _, box in ruled)]
    grids = (*(grid for grid, _ in ruled), *aligned_grids(outside))
    return Page(number=number, source="text", lines=lines, grids=grids)


def _recognised(number: int, lines: tuple[Line, ...]) -> Page:
    return Page(number=number, source="ocr", lines=lines, grids=aligned_grids(lines))


def _inside(line: Line, box: Box) -> bool:
    x, y = (line.x0 + line.x1) / 2, (line.y0 + line.y1) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
