"""Which sentences of the passages found make up the answer, and in which order they read well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from .index import Weighed

MOST = 4  # sentences that are chosen for themselves
LETTERS = 1200  # of the whole answer: what comes after is left out, the first sentence never
NEARLY = 0.85  # of the best sentence's score: what falls below says something else
SAME = 0.86  # cosine from which a sentence repeats one that was chosen
LEANING = "also but he however instead it otherwise she so such that then these they this those thus"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may be quoted: in which passage it stands, at which place, and how well it answers."""

    passage: int
    place: int
    score: float
    sentence: Weighed


def choose(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """The answer's sentences in the order in which they are read, each as soon as it is certain.

    Passages come by their best sentence, sentences within one as they stand there. One that leans on the sentence
    before it ("It then ...") brings that along; one that repeats another is passed over.
    """
    bar = NEARLY * max((each.score for each in candidates), default=0.0)
    chosen: list[Candidate] = []
    letters = 0
    for passage in _by_best(candidates):
        if len(chosen) >= MOST:
            return
        for each in _with_support(_worth_saying(passage, bar, chosen), passage):
            letters += len(each.sentence.text)
            if chosen and letters > LETTERS:
                return
            chosen.append(each)
            yield each


def _by_best(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    passages = [list(each) for _, each in groupby(candidates, key=lambda candidate: candidate.passage)]
    return sorted(passages, key=lambda passage: -max(each.score for each in passage))


def _worth_saying(passage: Sequence[Candidate], bar: float, before: Sequence[Candidate]) -> list[Candidate]:
    """The best sentences of one passage that are good enough and new, best first."""
    worth: list[Candidate] = []
    room = MOST - len(before)
    for each in sorted(passage, key=lambda candidate: -candidate.score):
        fits = each.score >= bar and _stands_alone(each.sentence.text) and not _repeats(each, [*before, *worth])
        if len(worth) < room and fits:
            worth.append(each)
    return worth


def _with_support(worth: Sequence[Candidate], passage: Sequence[Candidate]) -> list[Candidate]:
    """These sentences as they stand in the passage, with those that they lean on."""
    places = {each.place for each in worth}
    places |= {each.place - 1 for each in worth if _leans(each.sentence.text)}
    return [each for each in passage if each.place in places]


def _stands_alone(text: str) -> bool:
    """Whether a sentence says something: not `Yes.`, and not `There are two ways:` with neither of them."""
    return len(text.split()) > 2 and not text.endswith(":")


def _leans(text: str) -> bool:
    return text.split(maxsplit=1)[0].lower().strip(",;:") in LEANING.split()


def _repeats(candidate: Candidate, chosen: Sequence[Candidate]) -> bool:
    return any(float(candidate.sentence.meaning @ other.sentence.meaning) >= SAME for other in chosen)
