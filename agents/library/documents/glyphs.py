"""From single characters with boxes to lines of text that never run across a column gap."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from .records import Line

GAP = 1.1  # in line heights: wider than any blank of justified text, narrower than what divides columns
NUMBERS_GAP = 0.45  # between two numbers: wider than a blank between thousands
HYPHENS = {"\x02", "\ufffe", "\u00ad"}  # how pdfium marks a hyphen at a line's end


@dataclass(frozen=True, slots=True)
class Glyph:
    """One character and its box; a made-up one (a blank or line break between words) has no place of its own."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    made_up: bool


def lines_of(glyphs: Iterable[Glyph]) -> tuple[Line, ...]:
    """The lines, in the order in which the page draws them."""
    lines: list[Line] = []
    run: list[Glyph] = []
    for glyph in glyphs:
        if glyph.text in "\r\n":
            _close(run, lines)
            run = []
        elif glyph.made_up or glyph.text.isspace():
            run.append(Glyph(" ", 0, 0, 0, 0, True)) if run else None
        elif (text := _clean(glyph.text)) != "":
            if run and not _goes_on(run, glyph):
                _close(run, lines)
                run = []
            run.append(Glyph(text, glyph.x0, glyph.y0, glyph.x1, glyph.y1, False))
    _close(run, lines)
    return tuple(lines)


def _clean(text: str) -> str:
    if text in HYPHENS:
        return "-"
    return "" if unicodedata.category(text) in ("Cc", "Cf", "Cs", "Cn") else text


def _goes_on(run: list[Glyph], glyph: Glyph) -> bool:
    last = next((g for g in reversed(run) if not g.made_up), None)
    if last is None:
        return True
    height = max(last.y1 - last.y0, glyph.y1 - glyph.y0, 1.0)
    shared = min(last.y1, glyph.y1) - max(last.y0, glyph.y0)
    gap = glyph.x0 - last.x1
    wide = NUMBERS_GAP if last.text.isdigit() and glyph.text.isdigit() else GAP
    return shared > 0.3 * min(last.y1 - last.y0, glyph.y1 - glyph.y0) and -height < gap < wide * height


def _close(run: list[Glyph], lines: list[Line]) -> None:
    text = " ".join("".join(g.text for g in run).split())
    placed = [g for g in run if not g.made_up]
    if text and placed:
        lines.append(
            Line(
                text=text,
                x0=round(min(g.x0 for g in placed), 1),
                y0=round(min(g.y0 for g in placed), 1),
                x1=round(max(g.x1 for g in placed), 1),
                y1=round(max(g.y1 for g in placed), 1),
            )
        )
