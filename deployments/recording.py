"""What becomes of the steps and events of a live run: nothing, or they are told to a listener."""

from __future__ import annotations

import asyncio
import time

from agents.events import Emitted
from agents.journal import StepRecord
from cluster.task import Event


class Silence:
    """A recorder for a caller who waits for nothing but the answer."""

    async def may_start(self) -> None:
        return

    async def record(self, step: StepRecord) -> None:
        return

    async def emit(self, event: Emitted) -> None:
        return


class Telling:
    """A recorder that numbers what happens from 0 and puts it on a queue, in order."""

    def __init__(self, queue: asyncio.Queue[Event | None]) -> None:
        self._queue = queue
        self._next = 0
        self._over = False
        self._turn = asyncio.Lock()

    @property
    def begun(self) -> bool:
        """Whether anything was told yet."""
        return self._next > 0

    def begin(self) -> None:
        """Tell the first event, where it was not told: the run is accepted."""
        if not self.begun:
            self._queue.put_nowait(self._numbered("attempt.started", "{}", "", None))

    async def may_start(self) -> None:
        return

    async def record(self, step: StepRecord) -> None:
        await self._tell("step.completed", step=str(step.id))

    async def emit(self, event: Emitted) -> None:
        await self._tell(event.type, event.data, step=event.step, at=event.at)

    async def end(self, type: str, data: str) -> None:
        """Tell the last event; what a cancelled run still emits is dropped."""
        await self._tell(type, data)
        self._over = True

    async def _tell(self, type: str, data: str = "{}", *, step: str = "", at: float | None = None) -> None:
        async with self._turn:
            if not self._over:
                await self._queue.put(self._numbered(type, data, step, at))

    def _numbered(self, type: str, data: str, step: str, at: float | None) -> Event:
        event = Event(self._next, type, time.time() if at is None else at, 1, step or None, data)
        self._next += 1
        return event
