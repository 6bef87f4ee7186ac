"""A run waits once every branch of it waits, whatever its code makes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents import Context, Mode, NeedsBackground, Progress
from agents.branches import Suspended
from agents.errors import StepError

from .scripted import Pack, host, part, waiting


async def test_a_branch_that_works_goes_on_beside_one_that_waits() -> None:
    async def script(ctx: Context) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(1000))
            for number in range(5):
                group.create_task(ctx.step("work", asyncio.sleep, 0.01, key=str(number)))
        return "done"

    busy = host(script)
    await waiting(busy)

    assert sorted(busy.ran) == [f"work:{number}" for number in range(5)]
    busy.advance(1001)
    assert await busy.run() == "done"
    assert len(busy.ran) == 5


async def test_a_sleep_that_ends_beside_a_working_branch_goes_on_in_the_same_run() -> None:
    runs = 0

    async def script(ctx: Context) -> Any:
        nonlocal runs
        runs += 1

        async def nap() -> str:
            await ctx.sleep(0.01)
            return await ctx.step("after", lambda: "rested")

        return await asyncio.gather(nap(), ctx.step("work", asyncio.sleep, 0.1))

    assert await host(script).run(None) == ["rested", None]
    assert runs == 1


async def test_waiting_unwinds_past_except_exception_and_runs_finally() -> None:
    seen: list[str] = []

    async def script(ctx: Context) -> str:
        try:
            await ctx.sleep(10)
        except Exception:
            seen.append("except")
            raise
        finally:
            seen.append("finally")
        return "awake"

    sleeper = host(script)
    await waiting(sleeper)
    assert seen == ["finally"]
    assert await sleeper.finish() == "awake"
    assert "except" not in seen


@pytest.mark.parametrize("then", ["returns", "steps", "emits", "raises", "circles"])
async def test_code_that_swallows_the_wait_waits_all_the_same(then: str) -> None:
    ran: list[str] = []

    async def script(ctx: Context) -> str:
        try:
            await ctx.sleep(10)
        except BaseException as error:
            if not isinstance(error, Suspended):
                raise
            match then:
                case "steps":
                    await ctx.step("after", ran.append, "after")
                case "emits":
                    await ctx.emit(Progress(message="after"))
                case "raises":
                    raise ValueError("after") from None
                case "circles":
                    for _ in range(1000):
                        with pytest.raises(Suspended):
                            await ctx.sleep(1, key="again")
        return "swallowed"

    sleeper = host(script)
    await waiting(sleeper)

    assert ran == []
    assert sleeper.events == []
    assert [str(record.id) for record in sleeper.journal] == ["sleep#0"]


async def test_results_gathered_with_their_errors_do_not_hide_a_wait() -> None:
    async def script(ctx: Context) -> Any:
        results = await asyncio.gather(
            ctx.call(Pack, part(1), key="a"), ctx.call(Pack, part(-1), key="b"), return_exceptions=True
        )
        return [type(result).__name__ for result in results]

    caller = host(script, agents=[Pack()])
    await waiting(caller)

    assert await caller.finish() == ["Packed", "ChildFailed"]


async def test_a_run_that_awaits_something_else_while_all_branches_wait_is_ended() -> None:
    async def script(ctx: Context) -> str:
        ready = asyncio.Event()

        async def nap() -> None:
            await ctx.sleep(10)
            ready.set()

        task = asyncio.create_task(nap())
        await ready.wait()
        await task
        return "awake"

    sleeper = host(script)
    await waiting(sleeper)

    assert await sleeper.finish() == "awake"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_wait_that_a_failing_branch_cancels_is_not_waited_for() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def script(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(10))
            group.create_task(ctx.step("fail", fail))

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await host(script).run(None)


async def test_what_a_run_leaves_waiting_does_not_hold_it_up() -> None:
    left: list[asyncio.Task[Any]] = []

    async def script(ctx: Context) -> str:
        left.append(asyncio.create_task(ctx.signal("never")))
        await asyncio.sleep(0)
        return "done"

    assert await host(script).run(None) == "done"
    await asyncio.wait(left)
    assert left[0].cancelled()


@pytest.mark.parametrize("wait", ["sleep", "signal", "call", "map"])
async def test_a_wait_inside_of_a_step_is_refused(wait: str) -> None:
    async def script(ctx: Context) -> Any:
        waits: dict[str, Callable[[], Any]] = {
            "sleep": lambda: ctx.sleep(1),
            "signal": lambda: ctx.signal("word"),
            "call": lambda: ctx.call(Pack, part(1)),
            "map": lambda: ctx.map(Pack, [part(1)]),
        }
        return await ctx.step("outer", waits[wait])

    with pytest.raises(StepError, match=rf"{wait}.*inside of step 'outer#0'"):
        await host(script, agents=[Pack()]).run(None)


async def test_two_waits_of_one_name_in_parallel_need_keys() -> None:
    async def script(ctx: Context) -> Any:
        return await asyncio.gather(ctx.sleep(1), ctx.sleep(2))

    with pytest.raises(StepError, match=r"parallel need a key="):
        await host(script).run(None)


@pytest.mark.parametrize("wait", ["sleep", "signal", "call", "map", "promote"])
async def test_in_real_time_a_wait_needs_the_background(wait: str) -> None:
    async def script(ctx: Context) -> Any:
        match wait:
            case "sleep":
                await ctx.sleep(1)
            case "signal":
                await ctx.signal("word")
            case "call":
                await ctx.call(Pack, part(1))
            case "map":
                await ctx.map(Pack, [part(1)])
            case "promote":
                await ctx.promote("worth a wider search")
        return "went on"

    with pytest.raises(NeedsBackground, match="submit it as a task"):
        await host(script, mode=Mode.REALTIME).run(None)
    if wait == "promote":
        assert await host(script).run(None) == "went on"
