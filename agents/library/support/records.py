"""What the support agent is asked, what it finds and what it answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


class Record(BaseModel):
    """A fact that never changes once it was made, and takes no field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(Record):
    """One question, in plain words."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Passage(Record):
    """A few neighbouring sentences of one document, and where they stand."""

    file: str  # as a reader would name it: `docs/lifecycle.md`
    heading: tuple[str, ...] = ()  # from the document's title down to the passage's own heading
    first_line: int
    last_line: int
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.sentences)

    @property
    def title(self) -> str:
        return self.heading[-1] if self.heading else ""

    @property
    def place(self) -> str:
        lines = f"{self.first_line}" if self.first_line == self.last_line else f"{self.first_line}-{self.last_line}"
        return f"{self.file}:{lines}"


class Found(Record):
    """A passage near to the question, and the figures that say how near."""

    passage: Passage
    topic: float  # cosine of the question with the whole passage, or with its heading if that is nearer
    closest: float  # cosine of the question with the nearest of its sentences
    coverage: float  # the share of the question's words, weighted by rarity, that the passage holds: 0 to 1
    confidence: float  # the chance that the passage speaks of what was asked: 0 to 1


class Quote(Record):
    """One sentence of the answer, word for word as it stands in its source."""

    text: str
    source: int  # which of the answer's sources, counted from 0


class Answer(Record):
    """The sentences that answer the question and the passages they stand in, or the plain statement that none does.

    `confidence` is the chance, 0 to 1, that the documents speak of what was asked.
    """

    answered: bool
    text: str
    confidence: float
    quotes: tuple[Quote, ...] = ()
    sources: tuple[Passage, ...] = ()
