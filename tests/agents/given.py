"""What steps give in tests: a model, a dataclass, and what a service object finds."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pydantic import BaseModel


class Hit(BaseModel):
    text: str
    score: float = 0.5


@dataclass(frozen=True)
class Span:
    start: int
    end: int


class Index:
    """A service object, as setup() makes them."""

    def __call__(self, text: str) -> Hit:
        return Hit(text=text)

    def search(self, text: str) -> list[Hit]:
        return [Hit(text=text)]

    async def fetch(self, text: str) -> Hit:
        return Hit(text=text)

    @classmethod
    def made(cls, text: str) -> Hit:
        return Hit(text=text)

    @staticmethod
    def plain(text: str) -> Hit:
        return Hit(text=text)

    @functools.lru_cache  # noqa: B019 - one object, kept by the test
    def cached(self, text: str) -> Hit:
        return Hit(text=text)


INDEX = Index()
