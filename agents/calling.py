"""How a step's function is called: async code in the loop, any other in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from typing import Any


async def call(fn: Callable[..., Any], args: tuple[Any, ...], *, cancellable: bool) -> Any:
    """What `fn(*args)` gives, or what comes of awaiting that; in a task of its own.

    A cancel ends async code where that is cancellable. All else is waited for and its value returned as if no cancel
    had come (`heeding_cancel` raises it later). A second cancel is not waited for. What would end more than the step,
    such as SystemExit, is raised as a RuntimeError.
    """
    if inspect.iscoroutinefunction(fn):
        value = fn(*args)
    else:
        in_thread = asyncio.get_running_loop().run_in_executor(None, copy_context().run, _guarded, fn, args)
        value = await _finished(in_thread)
        if not inspect.isawaitable(value):
            return value
        if cancellable and _cancels():  # it came while, say, a lambda made the coroutine
            if inspect.iscoroutine(value):
                value.close()
            raise asyncio.CancelledError
    work = _awaited(value)
    return await (work if cancellable else _finished(asyncio.ensure_future(work)))


class heeding_cancel:
    """A cancel of this task that the block swallowed is raised at its end, whatever else came of the block. A class,
    since each step has such a block: as a generator it would take three times as long."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _cancels()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if (error is None or isinstance(error, Exception)) and _cancels() > self._before:
            raise asyncio.CancelledError from error


def _cancels() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


async def _finished(work: asyncio.Future[Any]) -> Any:
    """What the work gives, even if a cancel comes meanwhile; a second one is not waited for."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        return await asyncio.shield(work)


async def _awaited(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit out of a task of its own would end the whole loop
        raise _ordinary(error) from error


def _guarded(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        value = fn(*args)
        return list(value) if isinstance(value, Iterator) else value  # its code runs as it is gone through: here
    except StopIteration as error:  # a Future cannot carry it, and the step would hang for ever
        raise _ordinary(error) from error
    except Exception:
        raise
    except BaseException as error:  # likewise; nor is a CancelledError in a thread the cancel of its run
        raise _ordinary(error) from error


def _ordinary(error: BaseException) -> RuntimeError:
    return RuntimeError(f"{type(error).__name__}: {error}")
