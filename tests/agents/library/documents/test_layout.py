"""Which line goes on in which, and what a joint may connect."""

from __future__ import annotations

from collections.abc import Iterator

from agents.library.documents.dates import find_dates
from agents.library.documents.glyphs import Glyph, lines_of
from agents.library.documents.layout import Layout, spot
from agents.library.documents.records import Line

from .conftest import page


def glyphs(text: str, x: float = 0, y: float = 0, width: float = 5) -> Iterator[Glyph]:
    for n, character in enumerate(text):
        yield Glyph(character, x + n * width, y, x + (n + 1) * width, y + 10, character == " ")


def test_a_wide_gap_divides_a_line_into_cells_and_a_blank_does_not() -> None:
    lines = lines_of([*glyphs("Amount due"), *glyphs("$5.00", x=90)])

    assert [line.text for line in lines] == ["Amount due", "$5.00"]


def test_numbers_in_columns_are_divided_by_less_than_words() -> None:
    near = 6.0

    assert len(lines_of([*glyphs("1,540.0"), *glyphs("9,522.6", x=35 + near)])) == 2
    assert len(lines_of([*glyphs("section"), *glyphs("heading", x=35 + near)])) == 1


def test_hyphens_that_pdfium_marks_are_hyphens_again_and_control_characters_are_gone() -> None:
    assert [line.text for line in lines_of(glyphs("im\x02\x00\u200b"))] == ["im-"]


def test_a_date_that_runs_over_a_line_end_is_found_whole() -> None:
    layout = Layout(page("it takes effect two years later (October 28,", "2000).").lines)

    found = spot(layout, find_dates)

    assert [(f.value.value, f.text) for f in found] == [("2000-10-28", "October 28, 2000")]


def test_a_cell_does_not_go_on_in_the_cell_below() -> None:
    layout = Layout(page("May 5", "2007").lines)

    assert [f.value.value for f in spot(layout, find_dates)] == ["--05-05"]


def test_a_value_is_found_once_though_its_line_is_read_with_each_neighbour() -> None:
    layout = Layout(page("on July 5, 2007 the stock was", "sold again by its owner").lines)

    assert [f.value.value for f in spot(layout, find_dates)] == ["2007-07-05"]


def test_a_joined_match_is_as_sure_as_its_least_sure_line() -> None:
    sure = Line(text="until two years later (October 28,", x0=0, y0=0, x1=170, y1=10, confidence=0.9)
    smudged = Line(text="2000).", x0=0, y0=12, x1=30, y1=22, confidence=0.6)

    assert [f.confidence for f in spot(Layout([sure, smudged]), find_dates)] == [0.6]


def test_rows_run_from_top_to_bottom_and_left_to_right() -> None:
    lines = page("b|c", "d|e").lines
    layout = Layout([lines[3], lines[1], lines[0], lines[2]])

    assert [[layout.lines[n].text for n in row] for row in layout.rows()] == [["b", "c"], ["d", "e"]]
