"""What becomes of the steps and events of a live run: nothing, they are told to a listener, or kept for a task."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod

from agents.events import Emitted
from agents.journal import StepId, StepRecord
from cluster.claims import Entry, StepDone
from cluster.reports import Line
from cluster.task import Event


class Silence:
    """A recorder for a caller who waits for nothing but the answer."""

    async def may_start(self) -> None:
        return

    async def record(self, step: StepRecord) -> None:
        return

    async def emit(self, event: Emitted) -> None:
        return

    async def begin(self, step: StepId) -> None:
        return


class Telling(ABC):
    """A recorder that numbers what happens from 0 and puts it somewhere, in order."""

    def __init__(self) -> None:
        self._next = 0
        self._over = False
        self._turn: asyncio.Lock | None = None  # of those who put, once there are any

    @abstractmethod
    async def put(self, event: Event) -> None:
        """Take an event; none comes before this returns."""

    @property
    def begun(self) -> bool:
        """Whether the run is accepted: then its first event was told, if anybody wants it."""
        return self._next > 0

    def open(self) -> None:
        """The run is accepted: that it begins is event 0, told or not."""
        self._next = self._next or 1

    async def may_start(self) -> None:
        return

    async def record(self, step: StepRecord) -> None:
        await self._tell("step.completed", step=str(step.id))

    async def emit(self, event: Emitted) -> None:
        await self._tell(event.type, event.data, step=event.step, at=event.at)

    async def begin(self, step: StepId) -> None:
        await self._tell("step.started", step=str(step))

    async def end(self, type: str, data: str) -> None:
        """Tell the last event; what a cancelled run still emits is dropped."""
        await self._tell(type, data)
        self._over = True

    async def _tell(self, type: str, data: str = "{}", *, step: str = "", at: float | None = None) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        await self._turn.acquire()
        try:
            if not self._over:
                await self.put(self._numbered(type, data, step, at))
        finally:
            self._turn.release()

    def _numbered(self, type: str, data: str = "{}", step: str = "", at: float | None = None) -> Event:
        event = Event(self._next, type, time.time() if at is None else at, 1, step or None, data)
        self._next += 1
        return event


class Queued(Telling):
    """Puts what happens in a queue, first that the run begins."""

    def __init__(self, queue: asyncio.Queue[Event | None]) -> None:
        """The queue has room for one event, at least."""
        super().__init__()
        self._queue = queue

    async def put(self, event: Event) -> None:
        await self._queue.put(event)

    def open(self) -> None:
        if not self.begun:
            self._queue.put_nowait(self._numbered("attempt.started"))


class Movable:
    """A recorder that keeps what its run reaches, so that the run can go on elsewhere; `telling` is told as well.

    Once it has a line all goes there, and no step begins any more: the run has left.
    """

    def __init__(self, telling: Telling | None = None) -> None:
        self.entries: list[Entry] = []
        self._told: Telling | Silence = telling or Silence()
        self._gate: asyncio.Event | None = None
        self._held: list[Entry] = []
        self._line: Line | None = None

    def hold(self) -> None:
        """Take nothing more until it is known where it goes."""
        self._gate = asyncio.Event()

    def go(self, line: Line) -> None:
        """What was held back, and all that comes, goes there."""
        self._line = line
        for entry in self._held:
            line.note(entry)
        if self._gate is not None:
            self._gate.set()

    async def may_start(self) -> None:
        if self._gate is not None:
            await asyncio.Event().wait()

    async def record(self, step: StepRecord) -> None:
        if not await self._put(StepDone(step, time.time())):
            await self._told.record(step)

    async def emit(self, event: Emitted) -> None:
        if not await self._put(event):
            await self._told.emit(event)

    async def begin(self, step: StepId) -> None:
        if not await self._put(Emitted("step.started", str(step), time.time(), "{}")):
            await self._told.begin(step)

    async def _put(self, entry: Entry) -> bool:
        """Keep it; True if it goes elsewhere, and nobody here is to be told."""
        if self._line is not None:
            await self._line.record(entry)
        elif self._gate is not None:
            self._held.append(entry)  # at once: its run may be cancelled before it is known where this goes
            await self._gate.wait()
        else:
            self.entries.append(entry)
            return False
        return True
