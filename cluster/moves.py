"""What waits for its tick, in the order it came."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agents import RubatoError

from .book import Book
from .claims import Claim
from .parking import Listener
from .store import Store, Writes

TICK = 10_000  # rows, about, that one tick takes up; what comes after waits for the next

Apply = Callable[[Book, Any], Any]
Needs = Callable[[Store, bool], Awaitable[Any]]


class Move(NamedTuple):
    """Something that waits for its tick: what it must read, how it changes the book, who wants to know, and which
    worker reports. One that may be made `ahead` reads nothing and tells nobody but who waits for its answer."""

    apply: Apply
    answer: asyncio.Future[Any]
    needs: Needs | None
    listener: Listener | None
    rows: int
    ahead: bool

    def made(self, book: Book, found: Any) -> Any:
        """What it answers, or the refusal it raises; a refused move has changed nothing."""
        try:
            return self.apply(book, found)
        except RubatoError as error:
            return error

    def resolve(self, outcome: Any) -> None:
        """Tell who waits, once."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


@dataclass(slots=True)
class Tick:
    """Moves that are made, and wait for their commit."""

    batch: list[Move]
    took: float = 0.0  # seconds, to make them
    outcomes: list[Any] = field(default_factory=list)
    granted: dict[str, list[Claim]] = field(default_factory=dict)
    writes: Writes = field(default_factory=Writes)
    error: Exception | None = None  # in making them: the book is spoilt

    @property
    def reporting(self) -> dict[str, Listener]:
        """The workers that report, which are answered themselves and not by their parked pulls."""
        return {move.listener[0].id: move.listener for move in self.batch if move.listener}


class Moves:
    """The moves that no tick has taken. `woken` is set once there may be something to do, `came` once one came."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.came = asyncio.Event()
        self.rows = 0  # that those which wait will write
        self._moves: list[Move] = []
        self._alarm = math.inf  # by the loop's clock, when the next goes off

    def add(self, move: Move) -> None:
        self._moves.append(move)
        self.rows += move.rows
        self.woken.set()
        self.came.set()

    async def wait(self, alarm: Callable[[], float]) -> None:
        """Returns once there may be something to do, which is in `alarm()` seconds at the latest."""
        if not self.woken.is_set():
            loop = asyncio.get_running_loop()
            at = loop.time() + alarm()
            if at < self._alarm:  # one that goes off earlier does no harm
                self._alarm = at
                loop.call_at(at, self._go_off, at)
            await self.woken.wait()
        self.woken.clear()

    def _go_off(self, at: float) -> None:
        """Maybe a little before the loop's clock says so: uvloop's knows whole milliseconds only."""
        if self._alarm == at:
            self._alarm = math.inf
        self.woken.set()

    def put_back(self, moves: list[Move]) -> None:
        """What was taken last, and came to nothing."""
        self._moves[:0] = moves
        self.rows += sum(move.rows for move in moves)
        self.woken.set()

    def take(self) -> list[Move]:
        """Those of the next tick."""
        return self._cut(len(self._moves))

    def take_ahead(self) -> list[Move]:
        """Those of the next tick that may be made ahead, which is up to the first that may not."""
        first = next((place for place, move in enumerate(self._moves) if not move.ahead), len(self._moves))
        if not first:
            return []
        if first == len(self._moves):
            self.woken.clear()  # the tick that makes them looks around too
        return self._cut(first)

    def take_all(self) -> list[Move]:
        moves, self._moves, self.rows = self._moves, [], 0
        return moves

    def _cut(self, most: int) -> list[Move]:
        """The first ones, as many as a tick takes up; where others are left, somebody is to look again."""
        rows = 0
        for place, move in enumerate(self._moves[:most]):
            rows += move.rows
            if rows > TICK and place:
                most, rows = place, rows - move.rows
                break
        taken, self._moves = self._moves[:most], self._moves[most:]
        self.rows -= rows
        if self._moves:
            self.woken.set()
        return taken
