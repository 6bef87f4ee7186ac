"""The documents agent: a PDF or an image to structured fields, each with the place it stands at."""

from __future__ import annotations

import asyncio

from agents import Agent, Artifact, Background, Context, Realtime, Resources

from .checking import check
from .extraction import extract
from .opening import inspect
from .records import Document, Fields, Opened, Page

PAGES_AT_ONCE = 2  # recognition takes a core and 300 MB each; more would also keep other runs' steps waiting


class Documents(Agent[Document, Fields]):
    """Reads a PDF or an image and gives its type, dates, amounts, parties, identifiers and tables, with sources."""

    name = "documents"
    version = "1"  # of the fields that come out: the digest of this module alone would miss a change in extraction
    realtime = Realtime(deadline=60.0)
    background = Background(resources=Resources(cpus=1), slots=2, max_attempts=3, timeout=600)

    def setup(self) -> None:
        from .ocr import Recogniser

        self.recogniser = Recogniser()

    async def run(self, ctx: Context, document: Document) -> Fields:
        opened = await ctx.step("open", self.open, document.file)
        pages = await self._pages(ctx, document.file, opened)
        fields = await ctx.step("extract", extract, pages)
        return await ctx.step("check", check, fields, pages)

    def open(self, file: Artifact) -> Opened:
        """What the file is; raises what `opening.inspect` raises."""
        return inspect(file.read())

    def read(self, file: Artifact, opened: Opened, number: int) -> Page:
        """One page, counted from 1."""
        from .reading import read_page

        return read_page(file.read(), opened, number, self.recogniser)

    async def _pages(self, ctx: Context, file: Artifact, opened: Opened) -> list[Page]:
        gate = asyncio.Semaphore(PAGES_AT_ONCE)

        async def page(number: int) -> Page:
            async with gate:
                return await ctx.step("read", self.read, file, opened, number, key=str(number))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(page(number)) for number in range(1, opened.pages + 1)]
        except BaseExceptionGroup as broken:
            raise broken.exceptions[0] from None  # one broken page ends the run; the group would hide its type
        return [task.result() for task in tasks]
