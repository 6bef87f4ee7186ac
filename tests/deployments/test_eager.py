"""A task that begins at once is a task like any other."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from deployments.eager import begin

here: ContextVar[str] = ContextVar("here", default="outside")


async def test_what_waits_for_nothing_has_ended_when_it_was_begun() -> None:
    async def code() -> int:
        return 7

    task = begin(code())

    assert task.done()
    assert await task == 7


async def test_what_waits_goes_on_as_a_task() -> None:
    gate = asyncio.Event()

    async def code() -> int:
        async with asyncio.timeout(5):
            await gate.wait()
        return 7

    task = begin(code())
    assert not task.done()
    gate.set()

    assert await task == 7


async def test_its_code_is_in_that_task_and_in_a_context_of_its_own() -> None:
    async def code() -> asyncio.Task[object] | None:
        here.set("inside")
        return asyncio.current_task()

    outer = asyncio.current_task()
    task = begin(code())

    assert task.result() is task
    assert (asyncio.current_task(), here.get()) == (outer, "outside")


async def test_it_can_begin_another_and_where_there_is_no_task() -> None:
    async def inner() -> int:
        return 7

    async def code() -> int:
        return begin(inner()).result() + 1

    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: found.set_result(begin(code()).result()))

    assert await found == 8


async def test_an_error_is_its_result_and_it_can_be_cancelled() -> None:
    async def breaks() -> None:
        raise ValueError("no")

    async def waits() -> None:
        await asyncio.Event().wait()

    broken, waiting = begin(breaks()), begin(waits())
    waiting.cancel()

    with pytest.raises(ValueError, match="no"):
        await broken
    with pytest.raises(asyncio.CancelledError):
        await waiting
