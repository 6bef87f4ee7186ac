"""What the tests of the documents agent share: one recogniser, real files, and what the agent made of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from agents.library.documents import Document, Documents, Fields
from agents.library.documents.ocr import Recogniser
from agents.library.documents.records import Line, Page
from agents.testing import Host

HERE = Path(__file__).parent
ROOT = HERE.parents[3]


@lru_cache(maxsize=1)
def shared_recogniser() -> Recogniser:
    return Recogniser()


class Prepared(Documents):
    """The agent with the recogniser that all tests share, for loading one takes seconds."""

    def setup(self) -> None:
        self.recogniser = shared_recogniser()


@dataclass(frozen=True)
class Run:
    """What the agent gave for a file, and the pages as its journal holds them."""

    fields: Fields
    pages: tuple[Page, ...]


def path_of(name: str) -> Path:
    return ROOT / name if name.startswith("samples/") else HERE / name


def host() -> Host[Document, Fields]:
    return Host(Prepared())


@lru_cache(maxsize=16)
def run_on(name: str) -> Run:
    """One run of the agent on a real file, kept for the session."""
    runner = host()
    fields = asyncio.run(runner.run(Document(file=runner.put(path_of(name)))))
    pages = [Page.model_validate_json(record.value) for record in runner.journal if record.id.name == "read"]
    return Run(fields, tuple(sorted(pages, key=lambda page: page.number)))


@pytest.fixture
def recogniser() -> Recogniser:
    return shared_recogniser()


@pytest.fixture
def scan() -> Any:
    """The top of a real scanned page as an RGB picture: half a page, to be quick."""
    import pypdfium2
    from PIL import Image

    with pypdfium2.PdfDocument(path_of("data/wikipedia-ocr-scan.pdf")) as pdf:
        picture: Image.Image = pdf[0].render(scale=2).to_pil().convert("RGB")
    return picture.crop((0, 0, picture.width, picture.height // 9))


@pytest.fixture
def encode() -> Callable[..., bytes]:
    def encoded(picture: Any, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    return encoded


def page(*rows: str, number: int = 1) -> Page:
    """A typed page: each row is a line, '|' divides cells that stand 200 points apart."""
    lines = []
    for n, row in enumerate(rows):
        for place, text in enumerate(row.split("|")):
            if text.strip():
                x, y, text = 50.0 + 200 * place, 50.0 + 14 * n, text.strip()
                lines.append(Line(text=text, x0=x, y0=y, x1=x + 5.0 * len(text), y1=y + 10))
    return Page(number=number, source="text", lines=tuple(lines))
