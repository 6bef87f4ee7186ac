"""The support agent: retrieve, then answer in the documents' own words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from agents import Agent, Background, Context, Progress, Realtime, Resources, TextDelta

from .answering import Draft, candidates, fits
from .choosing import choose
from .embedder import Embedder
from .index import Index
from .meanings import default_cache, meanings
from .reading import read_folders
from .records import Answer, Found, Question

HOME = Path(__file__).parents[3]


class Support(Agent[Question, Answer]):
    """Answers a question from a folder of documents, citing the passages it used.

    A subclass may name folders of its own: Markdown, HTML and plain text in them are read when it is set up.
    """

    name = "support"
    folders: ClassVar[Sequence[Path]] = (HOME / "README.md", HOME / "docs")
    cache: ClassVar[Path | None] = default_cache()  # where vectors are kept from one start to the next
    realtime = Realtime(deadline=2.0)
    background = Background(resources=Resources(cpus=1), max_attempts=4, timeout=600)

    def setup(self) -> None:
        """Read and index the documents. Raises NothingToRead or BadWeights, which say what is missing."""
        passages = read_folders(self.folders)
        embed = Embedder()
        self.index = Index(passages, meanings(passages, embed, self.cache), embed)
        self.index.search("What is this about?")  # the model's first run is slow: it is ours, and no caller's

    async def run(self, ctx: Context, question: Question) -> Answer:
        found = await ctx.step("retrieve", self.index.search, question.text)
        for each in found:
            if fits(each):
                await ctx.emit(Progress(message=f"found {each.passage.place}", data=each))
        return await ctx.step("answer", partial(self._answer, ctx), question.text, found)

    async def _answer(self, ctx: Context, question: str, found: list[Found]) -> Answer:
        draft = Draft(found)
        weighed = await asyncio.to_thread(candidates, self.index, question, found)
        for chosen in choose(weighed):
            await ctx.emit(TextDelta(text=draft.add(chosen)))
        return draft.answer()
