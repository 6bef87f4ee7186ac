"""How many lines may be between the input and their record: a count, whatever time they take."""

from __future__ import annotations

import asyncio


class Window:
    """Room for `limit` lines, for one who takes; `most` is how many there have been at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._given = asyncio.Event()
        self.held = 0
        self.most = 0

    async def take(self, lines: int) -> None:
        """Returns when there is room; more lines than there is ever room for go alone."""
        while self.held and self.held + lines > self._limit:
            self._given.clear()
            await self._given.wait()
        self.held += lines
        self.most = max(self.most, self.held)

    def give(self, lines: int = 1) -> None:
        self.held -= lines
        self._given.set()
