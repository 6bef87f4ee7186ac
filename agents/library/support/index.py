"""Finds the passages that speak of a question: by their words, by their meaning, and by both ranks together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .confidence import confidence
from .lexicon import Rarity, words
from .records import Found, Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .embedder import Embedder, Vectors
    from .meanings import Meanings

    Scores = NDArray[np.float32]

QUESTIONS = 64  # whose vectors are kept: a run needs its own twice
READ = 8  # passages that a search returns
FUSION = 10  # of reciprocal rank fusion: the fewer, the more the first ranks weigh; 60 suits longer lists than ours
BY_WORDS, BY_MEANING = 2.0, 3.0  # how much each ranking counts


@dataclass(frozen=True, slots=True)
class Weighed:
    """A sentence beside a question: cosine of their meanings, and the share of the question's words it says."""

    text: str
    similarity: float
    coverage: float
    meaning: Vectors = field(repr=False, compare=False)


class Index:
    """Passages, searchable from many threads at once; nothing in it changes once it is built."""

    def __init__(self, passages: Sequence[Passage], meanings: Meanings, embed: Embedder) -> None:
        import bm25s

        said = [words(searchable(passage)) for passage in passages]
        self.passages = tuple(passages)
        self._places = {passage: place for place, passage in enumerate(passages)}
        self._rarity = Rarity(said)
        self._meanings = meanings
        self._embed = embed
        self._asked = lru_cache(maxsize=QUESTIONS)(lambda question: embed([question])[0])
        self._bm25 = bm25s.BM25()
        self._bm25.index(said, show_progress=False)

    def search(self, question: str) -> list[Found]:
        """The passages nearest to the question, best first; the nearest may still be far from it."""
        asked = self._asked(question)
        closest, topic = self._meanings.closest(asked), self._meanings.topic(asked)
        ranked = fuse((BY_WORDS, self.by_words(question)), (BY_MEANING, closest + topic))
        return [self._found(question, at, float(topic[at]), float(closest[at])) for at in ranked[:READ]]

    def by_words(self, question: str) -> Scores:
        """The BM25 score of every passage; 0 where no word of the question stands in it."""
        import numpy as np

        known = [word for word in words(question) if word in self._rarity]
        if not known:
            return np.zeros(len(self.passages), dtype=np.float32)
        scores: Scores = self._bm25.get_scores(known)
        return scores

    def weigh(self, question: str, passage: Passage) -> list[Weighed]:
        """The passage's sentences in order; it need not be one of this index, as after a change of the documents."""
        place = self._places.get(passage)
        meanings = self._embed(passage.sentences) if place is None else self._meanings.of(place)
        asked = self._asked(question)
        return [
            Weighed(text, float(meaning @ asked), self._coverage(question, text), meaning)
            for text, meaning in zip(passage.sentences, meanings, strict=True)
        ]

    def _found(self, question: str, at: int, topic: float, closest: float) -> Found:
        passage = self.passages[at]
        coverage = self._coverage(question, searchable(passage))
        sure = confidence(topic, closest, coverage)
        return Found(passage=passage, topic=topic, closest=closest, coverage=coverage, confidence=sure)

    def _coverage(self, question: str, text: str) -> float:
        return self._rarity.coverage(words(question), frozenset(words(text)))


def searchable(passage: Passage) -> str:
    """The words that a passage is found by: its headings' and its own."""
    return f"{'. '.join(passage.heading)}. {passage.text}" if passage.heading else passage.text


def fuse(*rankings: tuple[float, Any]) -> list[int]:
    """Places, best first, by reciprocal rank fusion of (weight, scores); a score of 0 or less is no rank at all."""
    fused: defaultdict[int, float] = defaultdict(float)
    for weight, scores in rankings:
        ranked = (int(at) for at in (-scores).argsort(kind="stable") if scores[at] > 0)
        for rank, at in enumerate(ranked, start=1):
            fused[at] += weight / (FUSION + rank)
    return sorted(fused, key=lambda at: (-fused[at], at))
