"""Tasks whose code begins at once and not at the loop's next turn: what waits for nothing has ended when it was begun."""

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

    def begin(code: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the running loop that has gone as far as it comes without waiting."""
        loop = asyncio.get_running_loop()
        asked: list[tuple[Callable[[], object], Context]] = []  # of the loop: to take the first step soon

        def call_soon(step: Callable[[], object], *, context: Context) -> None:
            asked.append((step, context))

        loop.call_soon = call_soon  # type: ignore[assignment, method-assign]
        try:
            task = asyncio.Task(code, loop=loop)
        finally:
            del loop.call_soon
        outer = asyncio.current_task(loop)
        if outer is not None:
            asyncio.tasks._leave_task(loop, outer)
        try:
            for step, context in asked:
                context.run(step)
        finally:
            if outer is not None:
                asyncio.tasks._enter_task(loop, outer)
        return task
