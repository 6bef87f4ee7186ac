"""From passages found to an answer in their words, or to the plain statement that nothing was found."""

from __future__ import annotations

from collections.abc import Sequence

from .choosing import Candidate
from .confidence import ENOUGH
from .index import Index, Weighed
from .records import Answer, Found, Quote

SENTENCE, WORDS = 0.5, 0.1  # what a sentence's own similarity and coverage add to its score
TOPIC, SHARED, RANK = 0.4, 0.15, -0.02  # and what its passage's topic, coverage and rank do
LEAD = 0.03  # what a passage's first sentence gains: people say the answer first
NOTHING = "I found nothing about this in the documents."


def fits(found: Found) -> bool:
    """Whether the passage is near enough to the question to be quoted."""
    return found.confidence >= ENOUGH


def candidates(index: Index, question: str, found: Sequence[Found]) -> list[Candidate]:
    """Every sentence of the passages that fit the question, with its score; none where no passage fits."""
    return [
        Candidate(at, place, _score(sentence, each, at) + LEAD * (place == 0), sentence)
        for at, each in enumerate(found)
        if fits(each)
        for place, sentence in enumerate(index.weigh(question, each.passage))
    ]


def _score(sentence: Weighed, found: Found, rank: int) -> float:
    own = SENTENCE * sentence.similarity + WORDS * sentence.coverage
    return own + TOPIC * found.topic + SHARED * found.coverage + RANK * rank


class Draft:
    """An answer as it grows, sentence by sentence."""

    def __init__(self, found: Sequence[Found]) -> None:
        self._found = found
        self._chosen: list[Candidate] = []
        self._pieces: list[str] = []

    def add(self, chosen: Candidate) -> str:
        """Take a sentence up; returns what it adds to the answer's text."""
        gap = _gap(self._chosen[-1], chosen) if self._chosen else ""
        self._chosen.append(chosen)
        self._pieces.append(gap + chosen.sentence.text)
        return self._pieces[-1]

    def answer(self) -> Answer:
        """The answer as it stands; without a sentence it says that nothing was found."""
        confidence = max((each.confidence for each in self._found), default=0.0)
        if not self._chosen:
            return Answer(answered=False, text=NOTHING, confidence=confidence)
        cited = list(dict.fromkeys(each.passage for each in self._chosen))
        return Answer(
            answered=True,
            text="".join(self._pieces),
            confidence=confidence,
            quotes=tuple(Quote(text=each.sentence.text, source=cited.index(each.passage)) for each in self._chosen),
            sources=tuple(self._found[at].passage for at in cited),
        )


def _gap(before: Candidate, after: Candidate) -> str:
    if before.passage != after.passage:
        return "\n\n"
    return "\n" if "\n" in before.sentence.text + after.sentence.text else " "
