"""Pages of a PDF through pdfium: their count, their text layer as lines, their picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import DamagedDocument, EncryptedDocument
from .glyphs import Glyph, lines_of
from .records import Line

# pdfium keeps global state: two threads in it at once crash the process.
LOCK = threading.RLock()

MIN_CHARACTERS = 50  # fewer on a page that is one big picture are a stamp or a page number, not its text
PICTURE_SHARE = 0.5


def count_pages(data: bytes) -> int:
    """How many pages. Raises EncryptedDocument or DamagedDocument."""
    if not _is_whole(data):
        raise DamagedDocument("the PDF is cut short: its end is missing; send the whole file again")
    with document(data) as pdf:
        pages = len(pdf)
        if pages == 0:
            raise DamagedDocument("the PDF has no page that can be read; send the whole file again")
        return pages


@contextmanager
def document(data: bytes) -> Iterator[Any]:
    """The open document; nobody else is in pdfium meanwhile."""
    import pypdfium2

    with LOCK:
        try:
            pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            raise _refusal(error) from error
        try:
            yield pdf
        finally:
            pdf.close()


@contextmanager
def page(data: bytes, number: int, *, filled: bool = False) -> Iterator[Any]:
    """Page `number`, counted from 1; if `filled`, what was typed into its form is part of its text.

    Raises DamagedDocument where that page is broken.
    """
    import pypdfium2
    import pypdfium2.raw as raw

    with document(data) as pdf:
        try:
            if filled:
                blank = pdf[number - 1]
                raw.FPDFPage_Flatten(blank, raw.FLAT_NORMALDISPLAY)
                blank.close()
            loaded = pdf[number - 1]
        except (pypdfium2.PdfiumError, IndexError) as error:
            raise DamagedDocument(f"page {number} of the PDF is broken; send the whole file again") from error
        try:
            yield loaded
        finally:
            loaded.close()


def text_lines(loaded: Any) -> tuple[Line, ...] | None:
    """The page's text layer as lines; None where it has none worth the name, so the page must be recognised."""
    glyphs = list(_glyphs(loaded))
    seen = sum(not g.text.isspace() for g in glyphs)
    unknown = sum(_is_unknown(g.text) for g in glyphs)
    if seen == 0 or unknown > 0.3 * seen:
        return None
    if seen < MIN_CHARACTERS and _picture_share(loaded) > PICTURE_SHARE:
        return None
    return lines_of(glyphs)


def picture(loaded: Any, longest_side: int) -> Any:
    """The page as a BGR array whose longest side has this many pixels, and the points that one pixel stands for."""
    import numpy as np

    scale = longest_side / max(*loaded.get_size(), 1.0)
    array = np.ascontiguousarray(loaded.render(scale=scale).to_numpy()[:, :, :3])
    return array, 1 / scale


def has_rulings(loaded: Any) -> bool:
    """Whether lines or boxes are drawn on the page, as a ruled table needs."""
    import pypdfium2.raw as raw

    paths = (item for item in loaded.get_objects(max_depth=3) if item.type == raw.FPDF_PAGEOBJ_PATH)
    return sum(1 for _, _ in zip(paths, range(4), strict=False)) == 4


def _is_whole(data: bytes) -> bool:
    """Whether the last end marker is there and no object begins behind it, as in a file cut after an earlier one."""
    end = data.rfind(b"%%EOF")
    return end >= 0 and b" obj" not in data[end:]


def _refusal(error: Exception) -> EncryptedDocument | DamagedDocument:
    text = str(error).lower()
    if "password" in text or "security" in text:
        return EncryptedDocument("the PDF is encrypted and needs a password: send a copy without one")
    return DamagedDocument("the PDF is damaged and cannot be opened: send the whole file again")


def _glyphs(loaded: Any) -> Iterator[Glyph]:
    from ctypes import byref

    import pypdfium2.raw as raw

    text = loaded.get_textpage()
    turn, box, high = loaded.get_rotation(), raw.FS_RECTF(), 0
    left, bottom, right, top = loaded.get_bbox()
    width, height = loaded.get_size()
    for at in range(raw.FPDFText_CountChars(text)):
        code = raw.FPDFText_GetUnicode(text, at)
        if 0xD800 <= code < 0xDC00:  # half of a pair: pdfium hands out UTF-16
            high = code
            continue
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00) if high else 0xFFFD
        high = 0
        raw.FPDFText_GetLooseCharBox(text, at, byref(box))
        a = _turned(box.left - left, box.bottom - bottom, right - left, top - bottom, turn)
        b = _turned(box.right - left, box.top - bottom, right - left, top - bottom, turn)
        made_up = raw.FPDFText_IsGenerated(text, at) == 1
        glyph = Glyph(chr(code), min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]), made_up)
        # Printers leave their notes outside of the visible page.
        if made_up or (glyph.x1 > 0 and glyph.y1 > 0 and glyph.x0 < width and glyph.y0 < height):
            yield glyph
    text.close()


def _turned(x: float, y: float, width: float, height: float, turn: int) -> tuple[float, float]:
    """A point of the page's own space as it is seen, from the top left, after the page's rotation."""
    if turn == 90:
        return y, x
    if turn == 180:
        return width - x, y
    if turn == 270:
        return height - y, width - x
    return x, height - y


def _is_unknown(text: str) -> bool:
    return text == "\ufffd" or "\ue000" <= text <= "\uf8ff" or (text < " " and text not in "\r\n\t\x02")


def _picture_share(loaded: Any) -> float:
    import pypdfium2.raw as raw

    width, height = loaded.get_size()
    shares = [0.0]
    for item in loaded.get_objects(max_depth=3):
        if item.type == raw.FPDF_PAGEOBJ_IMAGE:
            left, bottom, right, top = item.get_bounds()
            shares.append(abs((right - left) * (top - bottom)) / max(width * height, 1.0))
    return max(shares)
