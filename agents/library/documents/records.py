"""What goes in, what a page holds, and what comes out: every value with its page, its source text and a confidence."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from agents import Artifact


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Record):
    """A PDF or an image (PNG, JPEG, TIFF, WebP, BMP, GIF) to read."""

    file: Artifact


class Opened(Record):
    """A file that can be read: what it is and how many pages it has."""

    kind: Literal["pdf", "image"]
    pages: int


class Line(Record):
    """A run of text on one baseline, never across a column gap; the box is in points from the top left."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float = 1.0

    @property
    def height(self) -> float:
        return self.y1 - self.y0


class Grid(Record):
    """A table as it stands on a page: rows of equal length, an empty cell is ''."""

    rows: tuple[tuple[str, ...], ...]
    confidence: float


class Page(Record):
    """What was read of one page; `number` counts from 1, `source` says whether its text is typed or recognised."""

    number: int
    source: Literal["text", "ocr"]
    lines: tuple[Line, ...]
    grids: tuple[Grid, ...] = ()


class Found(Record):
    """Something that stands on a page; `text` is the page's own words, with each white space as one blank."""

    page: int
    text: str
    confidence: float = Field(ge=0, le=1)


class Date(Found):
    """`value` is ISO 8601, as exact as the page is: 2016-08-24, 1998-12, or --06-10 where no year is given."""

    value: str
    label: str = ""


class Amount(Found):
    """`value` is a plain decimal; `currency` is an ISO 4217 code, null where the page does not say."""

    value: str
    currency: str | None
    label: str = ""


class Party(Found):
    """A person or an organisation; `role` is the page's label for it, or 'organisation'."""

    name: str
    role: str


class Identifier(Found):
    """A number that names something; `valid` is the result of its checksum, null where it has none."""

    kind: str
    value: str
    valid: bool | None = None


class Table(Found):
    """Rows of equal length; `text` is the first row as it stands on the page."""

    rows: tuple[tuple[str, ...], ...]


class Kind(Found):
    """What the document is, and the words that say so."""

    value: str


class Fields(Record):
    """All that was found, in page order. `scanned` are the pages read by OCR, `warnings` what a person should check."""

    type: Kind | None
    pages: int
    scanned: tuple[int, ...] = ()
    dates: tuple[Date, ...] = ()
    amounts: tuple[Amount, ...] = ()
    parties: tuple[Party, ...] = ()
    identifiers: tuple[Identifier, ...] = ()
    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()
