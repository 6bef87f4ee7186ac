"""How step functions are called: never blocking the loop, and ended or waited for when a cancel comes."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents.failures import failed_step
from agents.journal import Journal

from .making import Notes, context


class Latch:
    """A plain function that says when it began, and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.error = error
        self.ended = 0

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(10)
        self.ended += 1
        if self.error is not None:
            raise self.error
        return "done"

    async def until_begun(self) -> None:
        while not self.began.is_set():
            await asyncio.sleep(0.001)


class Sleeper:
    """An async function that says when it began, and how it ended."""

    def __init__(self, on_cancel: Callable[[], str] | None = None) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.on_cancel = on_cancel
        self.ended = ""

    async def sleep(self) -> str:
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            if self.on_cancel is None:
                raise
            return self.on_cancel()
        self.ended = "finished"
        return "done"


async def test_a_plain_function_runs_in_a_thread() -> None:
    assert await context().step("work", threading.get_ident) != threading.get_ident()


async def test_an_async_function_runs_in_the_loop() -> None:
    async def where() -> int:
        return threading.get_ident()

    assert await context().step("work", where) == threading.get_ident()


@pytest.mark.parametrize("kind", ["function", "partial", "lambda", "generator"])
async def test_a_plain_function_never_blocks_the_loop(kind: str) -> None:
    latch = Latch()

    def generated():  # type: ignore[no-untyped-def]
        yield latch()

    fns: dict[str, Callable[..., Any]] = {
        "function": latch,
        "partial": functools.partial(latch),
        "lambda": lambda: latch(),
        "generator": generated,
    }
    running = asyncio.ensure_future(context().step("work", fns[kind]))

    await latch.until_begun()  # the loop turns while the function waits
    latch.go.set()

    assert await running in ("done", ["done"])


async def test_plain_functions_run_beside_each_other() -> None:
    ctx, barrier = context(), threading.Barrier(3)

    values = await asyncio.gather(*(ctx.step("work", barrier.wait, 10, key=str(n)) for n in range(3)))

    assert sorted(values) == [0, 1, 2]


async def test_stop_iteration_is_an_error_like_any_other() -> None:
    for fn in (lambda: next(iter(())), functools.partial(next, iter(()))):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(context().step("work", fn), 5)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
async def test_what_would_end_more_than_a_thread_ends_the_step_only(error: BaseException) -> None:
    def leave() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
        await context().step("work", leave)

    assert failed_step(caught.value) == "work#0"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("cancellable", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
async def test_an_exit_in_the_loop_ends_the_step_only(error: BaseException, cancellable: bool, wrapped: bool) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise error

    fn = (lambda: leave()) if wrapped else leave

    with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
        await context().step("work", fn, cancellable=cancellable)

    assert failed_step(caught.value) == "work#0"


async def cancelled(running: asyncio.Future[Any]) -> bool:
    await asyncio.wait([running], timeout=5)
    return running.cancelled()


async def test_a_cancel_ends_an_async_step_and_nothing_is_recorded() -> None:
    notes, sleeper = Notes(), Sleeper()
    running = asyncio.ensure_future(context(notes=notes).step("work", sleeper.sleep))
    await sleeper.began.wait()

    running.cancel()

    assert await cancelled(running)
    assert sleeper.ended == "cancelled"
    assert notes.steps == []


@pytest.mark.parametrize(
    "wrap", [lambda fn: lambda: fn(), functools.partial, lambda fn: lambda: asyncio.wait_for(fn(), 9)]
)
async def test_a_cancel_ends_async_code_however_it_is_wrapped(wrap: Callable[..., Any]) -> None:
    notes, sleeper = Notes(), Sleeper()
    running = asyncio.ensure_future(context(notes=notes).step("work", wrap(sleeper.sleep)))
    await sleeper.began.wait()

    running.cancel()

    assert await cancelled(running)
    assert sleeper.ended == "cancelled"


async def test_a_cancel_while_a_thread_makes_the_coroutine_means_it_never_runs() -> None:
    latch, sleeper = Latch(), Sleeper()

    def make() -> Any:
        latch()
        return sleeper.sleep()

    running = asyncio.ensure_future(context().step("work", make))
    await latch.until_begun()
    running.cancel()
    await asyncio.sleep(0)
    latch.go.set()

    assert await cancelled(running)
    assert not sleeper.began.is_set()


async def test_an_async_step_that_is_not_cancellable_finishes_and_is_recorded_and_then_cancelled() -> None:
    notes, sleeper = Notes(), Sleeper()
    running = asyncio.ensure_future(context(notes=notes).step("work", sleeper.sleep, cancellable=False))
    await sleeper.began.wait()

    running.cancel()
    await asyncio.sleep(0.01)
    waits = not running.done()
    sleeper.go.set()

    assert waits
    assert await cancelled(running)
    assert sleeper.ended == "finished"
    assert [step.value for step in notes.steps] == ['"done"']


async def test_a_lambda_that_is_not_cancellable_finishes_too() -> None:
    notes, sleeper = Notes(), Sleeper()
    running = asyncio.ensure_future(context(notes=notes).step("work", lambda: sleeper.sleep(), cancellable=False))
    await sleeper.began.wait()

    running.cancel()
    await asyncio.sleep(0.01)
    sleeper.go.set()

    assert await cancelled(running)
    assert len(notes.steps) == 1


@pytest.mark.parametrize("cancellable", [True, False])
async def test_a_plain_step_finishes_and_is_recorded_and_then_cancelled(cancellable: bool) -> None:
    journal, notes, latch = Journal(), Notes(), Latch()
    running = asyncio.ensure_future(context(journal, notes).step("work", latch, cancellable=cancellable))
    await latch.until_begun()

    running.cancel()
    await asyncio.sleep(0.01)
    waits = not running.done()
    latch.go.set()

    assert waits
    assert await cancelled(running)
    assert [step.value for step in notes.steps] == ['"done"']
    assert await context(journal).step("work", latch) == "done"
    assert latch.ended == 1


async def test_a_second_cancel_is_not_waited_for() -> None:
    notes, latch = Notes(), Latch()
    running = asyncio.ensure_future(context(notes=notes).step("work", latch))
    await latch.until_begun()
    running.cancel()
    await asyncio.sleep(0.01)

    running.cancel()

    assert await cancelled(running)
    assert latch.ended == 0
    latch.go.set()
    while not latch.ended:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert notes.steps == []


async def test_a_step_that_is_cancelled_before_it_began_never_begins() -> None:
    latch = Latch()
    latch.go.set()
    running = asyncio.ensure_future(context().step("work", latch, cancellable=False))
    await asyncio.sleep(0)  # as far as the call, which waits for its first turn

    running.cancel()

    assert await cancelled(running)
    assert not latch.began.is_set()


async def test_a_step_that_raises_while_cancelled_is_cancelled() -> None:
    notes, latch = Notes(), Latch(OSError("broken pipe"))
    caught: list[BaseException] = []

    async def run() -> None:
        try:
            await context(notes=notes).step("work", latch)
        except OSError as error:  # an agent's fallback must not outlive the cancel
            caught.append(error)

    running = asyncio.ensure_future(run())
    await latch.until_begun()
    running.cancel()
    await asyncio.sleep(0.01)
    latch.go.set()

    assert await cancelled(running)
    assert caught == []
    assert notes.steps == []


async def test_an_async_step_that_answers_the_cancel_with_an_error_is_cancelled() -> None:
    def fail() -> str:
        raise OSError("broken pipe")

    sleeper = Sleeper(fail)
    running = asyncio.ensure_future(context().step("work", sleeper.sleep))
    await sleeper.began.wait()

    running.cancel()

    assert await cancelled(running)


async def test_an_async_step_that_answers_the_cancel_with_a_value_is_recorded_and_then_cancelled() -> None:
    notes, sleeper = Notes(), Sleeper(lambda: "what there was")
    running = asyncio.ensure_future(context(notes=notes).step("work", sleeper.sleep))
    await sleeper.began.wait()

    running.cancel()

    assert await cancelled(running)
    assert [step.value for step in notes.steps] == ['"what there was"']


async def test_a_timeout_of_the_agents_own_waits_for_a_plain_step_and_is_still_a_timeout() -> None:
    notes = Notes()
    ctx = context(notes=notes)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ctx.step("work", time.sleep, 0.05)

    assert len(notes.steps) == 1
    assert await ctx.step("next", lambda: 1) == 1


async def test_a_run_that_unwinds_may_still_take_a_step() -> None:
    notes, sleeper = Notes(), Sleeper()

    async def run() -> None:
        ctx = context(notes=notes)
        try:
            await ctx.step("work", sleeper.sleep)
        finally:
            assert await ctx.step("clean up", lambda: "clean") == "clean"

    running = asyncio.ensure_future(run())
    await sleeper.began.wait()
    running.cancel()

    assert await cancelled(running)
    assert [str(step.id) for step in notes.steps] == ["clean up#0"]


async def test_a_branch_that_fails_has_its_group_cancel_the_others_and_keep_what_finished() -> None:
    notes, latch = Notes(), Latch()
    ctx = context(notes=notes)

    async def fail() -> None:
        await latch.until_begun()
        asyncio.get_running_loop().call_later(0.01, latch.go.set)
        raise OSError("no")

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("slow", latch))
            group.create_task(ctx.step("fails", fail))

    with pytest.raises(ExceptionGroup) as caught:
        await run()

    assert caught.group_contains(OSError, match="no")
    assert [str(step.id) for step in notes.steps] == ["slow#0"]
