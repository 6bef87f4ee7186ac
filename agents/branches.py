"""The branches of a run: which of them wait, and when nothing is left to do but to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

QUIET = 16  # turns of the loop in which nothing of the run moves, before it unwinds
UNWIND = 0.1  # seconds in which a run that waits unwinds by itself, before its host cancels it


class Suspended(BaseException):
    """Every branch of the run waits, so it unwinds: it is run again, from the top, once a wait is over.

    A BaseException, so that `except Exception` lets it pass. Whoever catches it all the same gets it again from
    whatever they ask of the context.
    """


@dataclass(eq=False, slots=True)
class Wait:
    """What one branch waits for: a moment, a signal, or so many children of a group, whatever comes first."""

    ready: Callable[[], bool]
    until: float | None = None
    signal: str | None = None
    group: str | None = None
    lane: str | None = None  # or another worker, as the host has it: that comes before all else
    left: Callable[[], int] = lambda: 0  # how many of the group must still end
    over: asyncio.Future[None] | None = None  # while a branch is in it
    bell: asyncio.TimerHandle | None = None


class Branches:
    """Counts what a run does with its context, and parks those of its branches that wait.

    Once at least one branch waits, nothing is in progress, and nothing has moved for QUIET turns of the loop,
    `suspend` is told the waits, and each of them raises Suspended. What a branch awaits elsewhere is not seen.

    A run that is wound up begins nothing more: whoever asks for it is held, save within a step that is in progress.
    """

    __slots__ = ("_busy", "_closed", "_held", "_looking", "_moves", "_now", "_still", "_suspend", "_waits", "shut")

    def __init__(self, now: Callable[[], float], suspend: Callable[[tuple[Wait, ...]], None]) -> None:
        self._now = now
        self._suspend = suspend
        self._waits: dict[Wait, None] = {}
        self._busy = 0
        self._moves = 0
        self._held = 0
        self._still: Callable[[], None] | None = None  # to be told when a run that is wound up stands still
        self._looking = False
        self._closed = False
        self.shut = False  # nothing begins any more; whoever would asks `hold`

    def begin(self) -> None:
        """Something of the run is in progress: a step, an emit; `end` must follow."""
        self._busy += 1

    def end(self) -> None:
        self._busy -= 1
        self._moved()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Something of the run is in progress within the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    async def wait(self, wait: Wait) -> None:
        """Returns once it is ready. Raises Suspended where the run unwinds first."""
        if wait.ready():
            return
        if self._closed:
            await self.refuse()
        wait.over = asyncio.get_running_loop().create_future()
        self._waits[wait] = None
        self._ring(wait)
        self._moved()
        try:
            await wait.over
        finally:
            del self._waits[wait]
            if wait.bell is not None:
                wait.bell.cancel()
            self._moved()

    def poke(self) -> None:
        """Something came that may end waits."""
        for wait in self._waits:
            if wait.ready():
                _end(wait)

    def wind_up(self, still: Callable[[], None]) -> None:
        """Nothing begins any more, and what is in progress may end. Then the run is suspended, where all its branches
        wait; else `still` is called, once it has not moved for QUIET turns: it does not end by itself."""
        if not self._closed and self._still is None:
            self.shut, self._still = True, still
            self._moved()

    async def hold(self, inside: bool) -> None:
        """For whoever would begin something while the run is shut: raises Suspended, or lasts until it is cancelled.
        Returns to one that is `inside` of a step that must be let to its end."""
        if self._still is None:
            await self.refuse()
        if not inside:
            self._held += 1
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._held -= 1
                self._moved()

    async def refuse(self) -> NoReturn:
        """Raise Suspended; in the next turn, so that code which asks in a circle does not hold up the loop."""
        await asyncio.sleep(0)
        raise Suspended

    def stop(self) -> None:
        """The run is interrupted, or over: it cannot be suspended any more, and nobody begins to wait."""
        self._closed = True

    def close(self) -> None:
        """The run is over: whoever still waits is cancelled."""
        self._closed = True
        self._still = None  # it knows who runs this
        for wait in self._waits:
            if wait.over is not None:
                wait.over.cancel()

    def _ring(self, wait: Wait) -> None:
        """End the wait at its moment, which the clock that waits go by may not have reached when the loop's has."""
        if wait.until is None:
            return
        if wait.ready():
            _end(wait)
        else:
            left = max(0.001, wait.until - self._now())
            wait.bell = asyncio.get_running_loop().call_later(left, self._ring, wait)

    def _moved(self) -> None:
        self._moves += 1
        if (self._waits or self._still) and not self._busy and not self._looking and not self._closed:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look, QUIET, self._moves)

    def _look(self, turns: int, moves: int) -> None:
        if not (self._waits or self._still) or self._busy or self._closed:
            self._looking = False
        elif moves != self._moves:
            asyncio.get_running_loop().call_soon(self._look, QUIET, self._moves)
        elif turns:
            asyncio.get_running_loop().call_soon(self._look, turns - 1, moves)
        else:
            self._looking = False
            self._settle()

    def _settle(self) -> None:
        """The run stands still."""
        self.poke()
        if any(wait.over is not None and wait.over.done() for wait in self._waits):
            return
        if self._waits and not self._held:
            self._unwind()
        elif self._still is not None:
            self._still()

    def _unwind(self) -> None:
        self.shut = self._closed = True
        self._still = None
        waits = tuple(self._waits)
        self._suspend(waits)
        for wait in waits:
            _end(wait, Suspended())


def _end(wait: Wait, error: BaseException | None = None) -> None:
    if wait.over is None or wait.over.done():
        return
    if error is None:
        wait.over.set_result(None)
    else:
        wait.over.set_exception(error)
