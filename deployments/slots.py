"""Room for so many runs at once; the others wait in line."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """Belongs to one event loop. Whoever has taken a slot gives it back, once."""

    def __init__(self, number: int) -> None:
        self.free = number
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def take(self) -> bool:
        """Take a slot, if one is free: then nobody waits for it."""
        if self.free <= 0:
            return False
        self.free -= 1
        return True

    async def wait(self) -> None:
        """Returns with a slot, in the order of the calls; whoever is cancelled has none, and has left the line."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # its turn came at the moment it left
            else:
                self._line.remove(turn)
            raise

    def give_back(self) -> None:
        """The slot goes to whoever waits longest."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
