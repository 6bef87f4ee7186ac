"""Pages as they are read: typed, filled in, rotated, scanned, as pictures of every sort."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agents.library.documents import images
from agents.library.documents.ocr import LONGEST_SIDE, Recogniser
from agents.library.documents.opening import inspect
from agents.library.documents.reading import read_page
from agents.library.documents.records import Opened, Page

from .conftest import path_of

Encode = Callable[..., bytes]
PDF = Opened(kind="pdf", pages=99)


def text_of(page: Page) -> str:
    return "\n".join(line.text for line in page.lines)


def read(name: str, number: int, recogniser: Recogniser) -> Page:
    return read_page(path_of(name).read_bytes(), PDF, number, recogniser)


def test_what_was_typed_into_a_form_is_part_of_its_page(recogniser: Recogniser) -> None:
    assert "U.S. Department of Interior, Fish and Wildlife Service" in text_of(
        read("data/sf424-page2.pdf", 1, recogniser)
    )


def test_printers_notes_outside_of_the_visible_page_are_not_read(recogniser: Recogniser) -> None:
    page = read("data/i1040nr-2007-pages-10-11.pdf", 1, recogniser)

    assert "Instructions for Form 1040NR" in text_of(page)
    assert "6-DEC-2007" not in text_of(page)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_rotated_page_is_laid_out_as_it_is_seen(turn: int, recogniser: Recogniser) -> None:
    import io

    import pypdfium2

    plain = read("samples/dmca-summary-1998.pdf", 2, recogniser)
    with pypdfium2.PdfDocument(path_of("samples/dmca-summary-1998.pdf")) as pdf:
        pdf[1].set_rotation(turn)
        width, height = pdf[1].get_size()
        buffer = io.BytesIO()
        pdf.save(buffer)

    lines = read_page(buffer.getvalue(), PDF, 2, recogniser).lines

    assert all(0 <= line.x0 < line.x1 <= width and 0 <= line.y0 < line.y1 <= height for line in lines)
    if turn == 180:
        assert lines[0].y0 > lines[-1].y0
    assert plain.lines[0].y0 < plain.lines[10].y0


def test_a_table_without_rows_ruled_is_read_cell_by_cell(recogniser: Recogniser) -> None:
    sexes, races = read("data/census-arrests-2012.pdf", 1, recogniser).grids

    assert ("Burglary", "240.9", "60.3", "180.6", "205.0", "53.4", "151.7", "35.9", "6.9", "29.0") in sexes.rows
    assert ("Total", "10,690,561", "7,389,208", "3,027,153", "150,544", "123,656") in races.rows
    assert races.rows[0][1:4] == ("Total", "White", "Black")
    assert len({len(row) for row in sexes.rows}) == 1


def test_lines_numbered_on_a_form_are_no_table(recogniser: Recogniser) -> None:
    assert read("samples/tax-form-1040a-2007.pdf", 1, recogniser).grids == ()


def test_pdf_pages_read_by_many_threads_are_as_by_one(recogniser: Recogniser) -> None:
    def summary(number: int) -> Page:
        return read("samples/dmca-summary-1998.pdf", number, recogniser)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(summary, range(1, 19))) == [summary(number) for number in range(1, 19)]


def test_a_palette_picture_a_transparent_one_and_a_deep_one_are_dark_on_white(scan: Any, encode: Encode) -> None:
    import numpy as np
    from PIL import Image, ImageOps

    clear = scan.convert("RGBA")
    clear.putalpha(ImageOps.invert(scan.convert("L")))
    deep = Image.fromarray(np.asarray(scan.convert("L")).astype(np.uint16) * 257)

    for picture in (scan.convert("P"), clear, scan.convert("1"), scan.convert("LA"), deep):
        array, _ = images.frame(encode(picture, "PNG"), 1, LONGEST_SIDE)
        assert array.shape[2] == 3
        assert array.mean() > 128


def test_a_phones_sideways_photograph_is_turned_upright(scan: Any, encode: Encode) -> None:
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6
    array, _ = images.frame(encode(scan, "JPEG", exif=turned), 1, LONGEST_SIDE)

    assert (array.shape[1] < array.shape[0]) != (scan.width < scan.height)


def test_a_palette_png_is_recognised(scan: Any, encode: Encode, recogniser: Recogniser) -> None:
    data = encode(scan.convert("P"), "PNG")

    page = read_page(data, inspect(data), 1, recogniser)

    assert page.source == "ocr"
    assert "Optical character recognition" in text_of(page)
    assert all(0.5 <= line.confidence <= 1 for line in page.lines)


def test_an_empty_picture_has_no_lines(encode: Encode, recogniser: Recogniser) -> None:
    from PIL import Image

    data = encode(Image.new("RGB", (400, 300), "white"), "PNG")

    assert read_page(data, inspect(data), 1, recogniser).lines == ()


def test_pictures_recognised_by_two_threads_at_once_are_as_one_after_the_other(
    scan: Any, encode: Encode, recogniser: Recogniser
) -> None:
    halves = [scan.crop((0, 0, scan.width, scan.height // 2)), scan.crop((0, 0, scan.width // 2, scan.height))]
    files = [encode(half, "PNG") for half in halves]

    def recognised(data: bytes) -> Page:
        return read_page(data, inspect(data), 1, recogniser)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(recognised, files)) == [recognised(data) for data in files]
