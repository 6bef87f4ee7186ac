"""The end of a gateway's process: whoever waits or listens there is told to come again, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Departure:
    """Has begun once Serve ends this process. Belongs to the event loop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._patient: set[asyncio.Task[Any]] = set()

    def begin(self, reason: str) -> None:
        """From now on nobody waits here."""
        self.begun.set()
        for task in self._patient:
            task.cancel()

    async def patient(self, ask: Callable[[float], Awaitable[T]], seconds: float) -> T:
        """What `ask(seconds)` gives, which may take that long; what `ask(0)` gives, if this process ends meanwhile."""
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        if not self.begun.is_set():
            self._patient.add(task)
            try:
                return await ask(seconds)
            except asyncio.CancelledError:
                if not self.begun.is_set() or task.uncancel() > 0:  # the caller has left
                    raise
            finally:
                self._patient.discard(task)
        return await ask(0)
