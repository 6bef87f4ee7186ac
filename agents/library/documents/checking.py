"""The last gate: nothing leaves that does not stand on its page, and sums and checksums that fail are named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from .layout import Layout
from .records import Amount, Fields, Found, Page

T = TypeVar("T", bound=Found)
SUBTOTAL = re.compile(r"\b(?:sub-?total|net(?:to)?|zwischensumme|ht)\b", re.IGNORECASE)
TAX = re.compile(r"\b(?:tax|vat|mwst|ust|tva)\b", re.IGNORECASE)
TOTAL = re.compile(r"\b(?:total|amount due|balance due|gesamt\w*|brutto\w*|ttc)\b", re.IGNORECASE)
POOR = 0.8  # mean OCR confidence below which a person should look


def check(fields: Fields, pages: list[Page]) -> Fields:
    """The fields that stand on their pages, with a warning for each thing that is wrong or was left out."""
    texts = {page.number: page_texts(page) for page in pages}
    kept = {
        "dates": _standing(fields.dates, texts, lambda d: (d.text,)),
        "amounts": _standing(fields.amounts, texts, lambda a: (a.text,)),
        "parties": _standing(fields.parties, texts, lambda p: (p.text, p.name)),
        "identifiers": _standing(fields.identifiers, texts, lambda i: (i.text, i.value)),
        "tables": _standing(
            fields.tables, texts, lambda t: [part for row in t.rows for c in row for part in c.split("\n")]
        ),
    }
    kind = fields.type if fields.type and stands(fields.type.text, texts[fields.type.page]) else None
    dropped = sum(len(getattr(fields, name)) - len(values) for name, values in kept.items())
    warnings = [*fields.warnings, *_checksums(fields), *_sums(fields), *_poor_pages(pages)]
    if dropped:
        warnings.append(f"{dropped} values were left out: they could not be found again on their pages")
    return fields.model_copy(update={**kept, "type": kind, "warnings": tuple(warnings)})


def page_texts(page: Page) -> tuple[str, ...]:
    """The page without white space: line after line as drawn, row after row, and each line with what it runs on to."""
    layout = Layout(page.lines)
    drawn = "".join(line.text for line in page.lines)
    rows = "".join(page.lines[n].text for row in layout.rows() for n in row)
    ends = "\0".join(
        "".join(page.lines[m].text for m in parts) for n in range(len(page.lines)) for parts in layout.joints(n)
    )
    return _bare(drawn), _bare(rows), _bare(ends)


def stands(text: str, texts: Iterable[str]) -> bool:
    """Whether the text is on the page, white space aside."""
    bare = _bare(text)
    return any(bare in page for page in texts)


def _standing(
    found: tuple[T, ...], texts: dict[int, tuple[str, ...]], parts: Callable[[T], Iterable[str]]
) -> tuple[T, ...]:
    return tuple(f for f in found if f.page in texts and all(stands(part, texts[f.page]) for part in parts(f)))


def _checksums(fields: Fields) -> list[str]:
    failed = (i for i in fields.identifiers if i.valid is False)
    return [f"page {i.page}: the checksum of {i.kind.upper()} {i.value} does not hold" for i in failed]


def _sums(fields: Fields) -> list[str]:
    """Where a page has one subtotal, one tax and one total in one currency, they must add up."""
    warnings = []
    for page in sorted({amount.page for amount in fields.amounts}):
        amounts = [amount for amount in fields.amounts if amount.page == page]
        net, total = _only(amounts, SUBTOTAL), _only([a for a in amounts if not SUBTOTAL.search(a.label)], TOTAL)
        tax = _only([a for a in amounts if not TOTAL.search(a.label)], TAX)
        if net is None or tax is None or total is None or len({net.currency, tax.currency, total.currency}) > 1:
            continue
        if abs(Decimal(net.value) + Decimal(tax.value) - Decimal(total.value)) > Decimal("0.01"):
            warnings.append(f"page {page}: {net.text} and {tax.text} do not add up to {total.text}")
    return warnings


def _only(amounts: list[Amount], label: re.Pattern[str]) -> Amount | None:
    found = [amount for amount in amounts if label.search(amount.label)]
    return found[0] if len(found) == 1 else None


def _poor_pages(pages: list[Page]) -> list[str]:
    warnings = []
    for page in sorted(pages, key=lambda page: page.number):
        if page.source == "ocr":
            mean = sum(line.confidence for line in page.lines) / len(page.lines) if page.lines else 0.0
            if not page.lines:
                warnings.append(f"page {page.number}: no text was found")
            elif mean < POOR:
                warnings.append(f"page {page.number}: the scan is hard to read (confidence {mean:.2f})")
    return warnings


def _bare(text: str) -> str:
    return "".join(text.split())
