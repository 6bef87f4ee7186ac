"""Tasks whose code begins at once, not at the loop's next turn: what waits for nothing has ended when it was begun."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

if sys.version_info >= (3, 12):

    def begin(code: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the running loop that has gone as far as it comes without waiting."""
        return asyncio.Task(code, loop=asyncio.get_running_loop(), eager_start=True)

else:
    _asked: list[tuple[Callable[[], object], Context]] = []  # of a loop, by a task that begins: to take its first step

    def _soon(step: Callable[[], object], *, context: Context) -> None:
        _asked.append((step, context))

    def begin(code: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the running loop that has gone as far as it comes without waiting."""
        loop = asyncio.get_running_loop()
        # A task asks its loop for its first step as it is made, and there is no other way to get at that step.
        loop.call_soon = _soon  # type: ignore[assignment, method-assign]
        try:
            task = asyncio.Task(code, loop=loop)
        finally:
            del loop.call_soon
        step, context = _asked.pop()
        outer = asyncio.current_task(loop)
        if outer is None:
            context.run(step)
            return task
        asyncio.tasks._leave_task(loop, outer)
        try:
            context.run(step)
        finally:
            asyncio.tasks._enter_task(loop, outer)
        return task
