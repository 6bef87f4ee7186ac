"""From pages to fields: what is found, where it stands, what labels it, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from .amounts import Money, Writing, currencies, find_amounts, find_bare_amounts, find_column_amounts
from .dates import Reading, day_comes_first, find_dates
from .identifiers import find_identifiers
from .kinds import find_kind
from .labels import cell_above, is_called_money, label_of
from .layout import Layout, Spot, spot
from .numbers import comma_is_decimal
from .parties import LABEL_ALONE, find_labelled, find_organisations
from .records import Amount, Date, Fields, Identifier, Page, Party, Table

MOST_VALUES = 1000  # of each sort: the answer must stay below what a result may weigh
MOST_CELLS = 10_000
DOLLAR_CODES = ("USD", "CAD", "AUD", "NZD", "HKD", "SGD")
T = TypeVar("T", Date, Amount, Party, Identifier)
Named = TypeVar("Named", Party, Identifier)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page and how its lines stand to each other."""

    page: Page
    layout: Layout

    @property
    def number(self) -> int:
        return self.page.number


def extract(pages: list[Page]) -> Fields:
    """All fields of a document, in page order."""
    sheets = [Sheet(page, Layout(page.lines)) for page in sorted(pages, key=lambda page: page.number)]
    text = "\n".join(line.text for sheet in sheets for line in sheet.page.lines)
    day_first, writing = _majority(day_comes_first(text)), _writing(text)
    warnings: list[str] = []
    return Fields(
        type=find_kind(sheet.page for sheet in sheets),
        pages=len(pages),
        scanned=tuple(sheet.number for sheet in sheets if sheet.page.source == "ocr"),
        dates=_capped("dates", [d for sheet in sheets for d in _dates(sheet, day_first)], warnings),
        amounts=_capped("amounts", [a for sheet in sheets for a in _amounts(sheet, writing)], warnings),
        parties=_capped("parties", _once([p for sheet in sheets for p in _parties(sheet)]), warnings),
        identifiers=_capped("identifiers", _once([i for sheet in sheets for i in _identifiers(sheet)]), warnings),
        tables=_tables(sheets, warnings),
        warnings=tuple(warnings),
    )


def _dates(sheet: Sheet, day_first: bool | None) -> Iterator[Date]:
    reading = Reading(day_first, smudged=sheet.page.source == "ocr")
    for found in spot(sheet.layout, lambda text: find_dates(text, reading)):
        yield Date(
            page=sheet.number,
            text=found.text,
            confidence=_confidence(found.value.certainty, found.confidence),
            value=found.value.value,
            label=label_of(sheet.layout, found),
        )


def _amounts(sheet: Sheet, writing: Writing) -> Iterator[Amount]:
    beside = spot(sheet.layout, lambda text: find_amounts(text, writing))
    below = _below_amounts(sheet.layout, beside, writing)
    taken = {place for found in [*beside, *below] for place in found.covers}
    bare = spot(sheet.layout, lambda text: find_bare_amounts(text, writing), across=False)
    labelled = [found for found in bare if taken.isdisjoint(found.covers) and is_called_money(sheet.layout, found)]
    for found in sorted([*beside, *below, *labelled], key=lambda found: (found.line, found.start)):
        yield Amount(
            page=sheet.number,
            text=found.text,
            confidence=_confidence(found.value.certainty, found.confidence),
            value=format(found.value.value, "f"),
            currency=found.value.currency,
            label=label_of(sheet.layout, found),
        )


def _below_amounts(layout: Layout, beside: list[Spot[Money]], writing: Writing) -> list[Spot[Money]]:
    """The rest of each column whose first amount alone carries the currency, as accountants write it."""
    currency = {found.line: found.value.currency for found in beside if found.text == layout.lines[found.line].text}
    cells: list[Spot[Money]] = []
    for n in (n for row in layout.rows() for n in row if n not in currency):
        above = cell_above(layout, n)
        if above is None or above not in currency:
            continue
        line = layout.lines[n]
        for start, end, money in find_column_amounts(line.text, currency[above], writing):
            currency[n] = money.currency
            covers = frozenset((n, at) for at in range(start, end))
            cells.append(Spot(money, line.text, line.confidence, n, start, covers))
    return cells


def _identifiers(sheet: Sheet) -> Iterator[Identifier]:
    for found in spot(sheet.layout, find_identifiers):
        yield Identifier(
            page=sheet.number,
            text=found.text,
            confidence=_confidence(found.value.certainty, found.confidence),
            kind=found.value.kind,
            value=found.value.value,
            valid=found.value.valid,
        )


def _parties(sheet: Sheet) -> Iterator[Party]:
    labelled = spot(sheet.layout, find_labelled, across=False)
    taken = {place for found in labelled for place in found.covers}
    named = [found for found in spot(sheet.layout, find_organisations) if taken.isdisjoint(found.covers)]
    for found, certainty in [*((found, 0.8) for found in labelled), *((found, 0.6) for found in named)]:
        role, name = found.value[0], " ".join(found.value[1].split())
        confidence = _confidence(certainty, found.confidence)
        yield Party(page=sheet.number, text=found.text, confidence=confidence, name=name, role=role)
    for n, line in enumerate(sheet.layout.lines):
        label = LABEL_ALONE.match(line.text)
        at = _beside_or_below(sheet.layout, n) if label else None
        if label and at is not None and sheet.layout.lines[at].text[:1].isupper():
            name, confidence = sheet.layout.lines[at].text, _confidence(0.7, sheet.layout.lines[at].confidence)
            yield Party(page=sheet.number, text=name, confidence=confidence, name=name, role=label["role"].lower())


def _beside_or_below(layout: Layout, n: int) -> int | None:
    right = layout.right(n)
    return right if right is not None else layout.below(n)


def _tables(sheets: list[Sheet], warnings: list[str]) -> tuple[Table, ...]:
    tables: list[Table] = []
    cells = 0
    for sheet in sheets:
        for grid in sheet.page.grids:
            cells += sum(len(row) for row in grid.rows)
            if cells > MOST_CELLS:
                warnings.append(f"tables from page {sheet.number} on are left out: there are too many cells")
                return tuple(tables)
            first = " ".join(" ".join(grid.rows[0]).split())
            tables.append(Table(page=sheet.number, text=first, confidence=grid.confidence, rows=grid.rows))
    return tuple(tables)


def _writing(text: str) -> Writing:
    """What a plain $ is here, which mark divides the decimals, and the currency where there is only one."""
    dollars = [code for code in DOLLAR_CODES if re.search(rf"\b{code}\b", text)]
    dollar = dollars[0] if len(dollars) == 1 else "USD"
    named = {dollar if money == "$" else money for money in currencies(text)}
    return Writing(dollar, _majority(comma_is_decimal(text)), named.pop() if len(named) == 1 else None)


def _majority(votes: int) -> bool | None:
    return None if votes == 0 else votes > 0


def _capped(what: str, found: list[T], warnings: list[str]) -> tuple[T, ...]:
    if len(found) > MOST_VALUES:
        warnings.append(f"only the first {MOST_VALUES} of {len(found)} {what} are reported")
    return tuple(found[:MOST_VALUES])


def _once(found: list[Named]) -> list[Named]:
    """Names and identifiers once for the document, where they are surest."""
    best: dict[tuple[str, str], Named] = {}
    for item in found:
        key = ("party", item.name.casefold()) if isinstance(item, Party) else (item.kind, item.value)
        if key not in best or item.confidence > best[key].confidence:
            best[key] = item
    return list(best.values())


def _confidence(certainty: float, reading: float) -> float:
    """How sure a value is: its reading cannot be surer than its letters, and nothing is certain."""
    return round(max(0.0, min(0.99, certainty * reading)), 3)
