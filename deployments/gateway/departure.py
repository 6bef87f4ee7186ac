"""The end of a gateway's process: whoever waits or listens there is told to come again, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Departure:
    """Has begun once Serve ends this process. Belongs to no event loop but those of its callers."""

    def __init__(self) -> None:
        self.begun = False
        self._patient: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def begin(self, reason: str) -> None:
        """From now on nobody waits here."""
        self.begun = True
        for task in self._patient:
            task.cancel()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self) -> None:
        """Returns once it has begun."""
        if not self.begun:
            begins: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(begins)
            try:
                await begins
            finally:
                self._waiting.discard(begins)

    async def patient(self, ask: Callable[[float], Awaitable[T]], seconds: float) -> T:
        """What `ask(seconds)` gives, which may take that long; what `ask(0)` gives, if this process ends meanwhile."""
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        if not self.begun:
            self._patient.add(task)
            try:
                return await ask(seconds)
            except asyncio.CancelledError:
                if not self.begun or task.uncancel() > 0:  # the caller has left
                    raise
            finally:
                self._patient.discard(task)
        return await ask(0)
