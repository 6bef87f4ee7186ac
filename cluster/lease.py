"""How long a worker may start steps under a claim, by its own clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from .claims import LEASE, MARGIN


class Lease:
    """Runs from when the call that brought the claim was made, and later from when the last heartbeat that renewed it
    was sent.

    The ledger counts from later moments: from the claim, which it made while it had the call, and from when it
    received the heartbeat. The moment of arrival would not do: an answer may wait for as long as this process is
    frozen. Belongs to the event loop: only the loop's thread touches it.
    """

    __slots__ = ("_clock", "_ends", "_lost", "_renewed")

    def __init__(self, clock: Callable[[], float], asked: float) -> None:
        self._clock = clock
        self._ends = asked + LEASE - MARGIN
        self._lost = False
        self._renewed: asyncio.Event | None = None

    def holds(self) -> bool:
        """Whether a step may start now."""
        return self._clock() < self._ends

    def renew(self, sent: float) -> None:
        """A heartbeat that was sent at this moment listed the claim, and the ledger agreed."""
        if self._lost:
            return
        self._ends = max(self._ends, sent + LEASE - MARGIN)
        if self._renewed is not None:
            self._renewed.set()
            self._renewed = None

    def lose(self) -> None:
        """No step starts any more, whatever renewal comes."""
        self._lost = True
        self._ends = -math.inf

    async def held(self) -> None:
        """Returns when a step may start: now, or after the next renewal; never once the lease is lost."""
        while not self.holds():
            if self._renewed is None:
                self._renewed = asyncio.Event()
            await self._renewed.wait()
