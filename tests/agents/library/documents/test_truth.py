"""Eight real documents against what a person sees on their pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest

from agents.library.documents import Fields
from agents.library.documents.records import Found, Page

from .conftest import HERE, path_of, run_on

TRUTHS = sorted((HERE / "truth").glob("*.json"))
ENOUGH = 0.9


def truth_of(path: Any) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads(path.read_text())
    return truth


def expected(truth: dict[str, Any], what: str) -> Counter[tuple[Any, ...]]:
    return Counter(_key(item["page"], item["value"], item.get("currency"), what) for item in truth[what])


def given(fields: Fields, what: str) -> Counter[tuple[Any, ...]]:
    return Counter(_key(f.page, f.value, getattr(f, "currency", None), what) for f in getattr(fields, what))


def _key(page: int, value: str, currency: str | None, what: str) -> tuple[Any, ...]:
    return (page, Decimal(value), currency) if what == "amounts" else (page, value)


@pytest.fixture(params=TRUTHS, ids=lambda path: path.stem)
def truth(request: pytest.FixtureRequest) -> dict[str, Any]:
    return truth_of(request.param)


def test_there_are_eight_documents_and_three_samples_one_of_them_a_scan() -> None:
    truths = [truth_of(path) for path in TRUTHS]
    samples = [truth for truth in truths if truth["file"].startswith("samples/")]

    assert len(truths) == 8
    assert {path_of(truth["file"]).name for truth in samples} == {p.name for p in path_of("samples/").iterdir()}
    assert len(samples) == 3
    assert any(truth["scanned"] for truth in samples)


@pytest.mark.parametrize("what", ["dates", "amounts"])
def test_dates_and_amounts_are_found_and_nothing_else_is(truth: dict[str, Any], what: str) -> None:
    wanted, found = expected(truth, what), given(run_on(truth["file"]).fields, what)
    right = sum((wanted & found).values())

    assert right >= ENOUGH * sum(wanted.values()), f"missing: {wanted - found}"
    assert right >= ENOUGH * sum(found.values()), f"too many: {found - wanted}"


def test_type_pages_and_scans_are_as_seen(truth: dict[str, Any]) -> None:
    fields = run_on(truth["file"]).fields

    assert (fields.type.value if fields.type else None) == truth["type"]
    assert fields.pages == truth["pages"]
    assert list(fields.scanned) == truth["scanned"]


def test_identifiers_and_parties_are_among_those_found(truth: dict[str, Any]) -> None:
    fields = run_on(truth["file"]).fields
    identifiers = {(found.kind, found.value) for found in fields.identifiers}
    parties = {found.name for found in fields.parties}

    missing = [i for i in truth["identifiers"] if (i["kind"], i["value"]) not in identifiers]
    missing += [name for name in truth["parties"] if name not in parties]

    assert len(missing) <= (1 - ENOUGH) * (len(truth["identifiers"]) + len(truth["parties"])), missing


def test_every_reported_value_stands_on_its_page(truth: dict[str, Any]) -> None:
    run = run_on(truth["file"])
    seen = {page.number: independent_text(truth["file"], page) for page in run.pages}
    pages = {page.number: page for page in run.pages}

    values = list(all_values(run.fields))

    assert [
        text
        for page, text in values
        if bare(text) not in seen[page] and not runs_over(text, truth["file"], pages[page])
    ] == []
    assert not any("left out" in warning for warning in run.fields.warnings)


def all_values(fields: Fields) -> Iterator[tuple[int, str]]:
    found: list[Found] = [*fields.dates, *fields.amounts, *fields.parties, *fields.identifiers]
    yield from ((f.page, f.text) for f in [*found, *([fields.type] if fields.type else [])])
    yield from ((p.page, p.name) for p in fields.parties)
    for table in fields.tables:
        yield from ((table.page, part) for row in table.rows for cell in row for part in cell.split("\n") if part)


def independent_text(name: str, page: Page) -> str:
    """The page without white space: of a scan as it was recognised, else as pdfium itself puts it into lines."""
    if page.source == "ocr":
        return bare("".join(line.text for line in page.lines))
    import pypdfium2
    import pypdfium2.raw as raw

    with pypdfium2.PdfDocument(path_of(name)) as pdf:
        blank = pdf[page.number - 1]
        raw.FPDFPage_Flatten(blank, raw.FLAT_NORMALDISPLAY)
        blank.close()
        return bare(pdf[page.number - 1].get_textpage().get_text_bounded())


def runs_over(text: str, name: str, page: Page) -> bool:
    """Whether its words follow each other on the page as pdfplumber sees it, each beside or below the one before."""
    reached: list[dict[str, Any]] | None = None
    for token in text.split():
        fits = [word for word in words_of(name, page.number) if token in word["text"]]
        reached = [word for word in fits if reached is None or any(follows(before, word) for before in reached)]
    return bool(reached)


def follows(before: dict[str, Any], word: dict[str, Any]) -> bool:
    down = word["top"] - before["top"]
    beside = abs(down) < 3 and word["x0"] > before["x0"]
    return bool(beside or 3 <= down < 1.7 * (before["bottom"] - before["top"]))


@lru_cache(maxsize=8)
def words_of(name: str, number: int) -> list[dict[str, Any]]:
    import pdfplumber

    with pdfplumber.open(path_of(name)) as pdf:
        return list(pdf.pages[number - 1].extract_words())


def bare(text: str) -> str:
    return "".join(text.split()).replace("\ufffe", "-").replace("\x02", "-")
