"""What a document is, by the words that such documents use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .records import Kind, Page

_CLUES: tuple[tuple[str, float, str], ...] = (
    ("invoice", 3, r"\binvoice\b(?!s)|\bRechnung\b|\bfacture\b"),
    ("invoice", 2, r"\b(?:bill to|amount due|invoice (?:no|number|date)|Rechnungs(?:nummer|datum))\b"),
    ("receipt", 3, r"\b(?:receipt|Kassenbon|Quittung|reçu)\b"),
    ("form", 3, r"\bOMB (?:No|Number|Control)"),
    (
        "form",
        2,
        r"\b(?:Application for|Do not write|please print|Your signature|Check only one box|for official use)\b",
    ),
    ("form", 2, r"\b(?:date of birth|social security number|first name|last name)\b"),
    ("instructions", 4, r"\bInstructions for\b"),
    ("instructions", 1, r"\b(?:see the instructions|for details, see|you must)\b"),
    ("statistics", 3, r"^Table \d+\b"),
    ("statistics", 2, r"\bStatistical (?:Abstract|Yearbook)\b|\bSource: U\.S\."),
    ("report", 2, r"\b(?:annual report|executive summary|office summary|introduction|memorandum|findings)\b"),
    ("letter", 3, r"^(?:Dear (?:Sir|Madam|Mr|Ms|Mrs|Dr|[A-Z])|Sehr geehrte|Madame, Monsieur)"),
    ("letter", 2, r"^(?:Sincerely|Yours (?:faithfully|sincerely|truly)|Mit freundlichen Grüßen|Cordialement)"),
    ("contract", 3, r"\b(?:this agreement|hereinafter|the parties (?:hereto|agree)|in witness whereof)\b"),
    ("statement", 3, r"\b(?:account statement|opening balance|closing balance|Kontoauszug|relevé de compte)\b"),
    ("article", 3, r"\b(?:Wikipedia|encyclop(?:a?edia|édie)|Enzyklopädie)\b"),
    ("article", 2, r"^(?:Abstract|References|Keywords)\b"),
)
CLUES = tuple((kind, weight, re.compile(pattern, re.IGNORECASE)) for kind, weight, pattern in _CLUES)
FIRST_PAGE = 2.0  # what a document is, it says at its beginning
MOST = 3  # a word repeated on every line says no more than one said three times


@dataclass(frozen=True, slots=True)
class _Clue:
    kind: str
    weight: float
    page: int
    text: str
    confidence: float


def find_kind(pages: Iterable[Page]) -> Kind | None:
    """The kind that most of the words speak for, with the words that speak loudest; None where none do."""
    clues = list(_clues(pages))
    scores: dict[str, float] = {}
    for clue in clues:
        scores[clue.kind] = scores.get(clue.kind, 0.0) + clue.weight
    if not scores:
        return None
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    kind, score = ranked[0]
    runner_up = ranked[1][1] if len(ranked) > 1 else 0.0
    best = max((clue for clue in clues if clue.kind == kind), key=lambda clue: clue.weight)
    certainty = min(0.95, score / (score + runner_up + 1.0))
    return Kind(value=kind, page=best.page, text=best.text, confidence=round(certainty * best.confidence, 3))


def _clues(pages: Iterable[Page]) -> Iterable[_Clue]:
    counts: dict[str, int] = {}
    for page in pages:
        for line in page.lines:
            for kind, weight, pattern in CLUES:
                match = pattern.search(line.text)
                if match and counts.get(pattern.pattern, 0) < MOST:
                    counts[pattern.pattern] = counts.get(pattern.pattern, 0) + 1
                    boost = FIRST_PAGE if page.number == 1 else 1.0
                    yield _Clue(kind, weight * boost, page.number, match[0], line.confidence)
