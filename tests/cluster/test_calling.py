"""Agents that call each other, on real workers and a real ledger: each child is made once, and heard of."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agents import ChildFailed, Context, Permanent, Retryable
from cluster.durable import RESULT_BYTES

from .house import agent, double, error, house

# calls


async def calls(ctx: Context, number: int) -> Any:
    return await ctx.call("double", number)


async def test_a_worker_with_one_slot_runs_a_parent_and_its_child() -> None:
    async def slowly(ctx: Context, number: int) -> int:
        await asyncio.sleep(0.05)  # its parent has unwound by then
        return 2 * number

    async with house() as home:
        home.hire(agent("double", slowly), agent("calls", calls), slots=1)
        id = await home.submit("calls", 4, priority=3, tags='["mine"]')
        ended = await home.ended(id)
        (child,) = await home.children(id)

    assert (ended.output, ended.attempts, ended.fence) == ("8", 1, 2)
    assert (child.output, child.parent_id, child.priority, child.version) == ("8", id, 3, "v1")


async def test_a_chain_of_sixteen_needs_one_slot_and_the_seventeenth_is_refused() -> None:
    async def deep(ctx: Context, left: int) -> int:
        return 1 + await ctx.call("deep", left - 1) if left else 0

    async with house() as home:
        home.hire(agent("deep", deep), slots=1)
        deepest = await home.ended(await home.submit("deep", 16))
        too_deep = await home.ended(await home.submit("deep", 17))

    assert deepest.output == "16"
    assert (too_deep.state, error(too_deep)["type"]) == ("failed", "child_failed")
    assert "at most 16 deep" in error(too_deep)["detail"]


async def test_a_child_is_tried_again_by_itself_and_its_failure_is_its_parents() -> None:
    async def flaky(ctx: Context, last: int) -> int:
        if ctx.attempt < last:
            raise Retryable("not yet", after=0.001)
        return ctx.attempt

    async def parent(ctx: Context, number: int) -> Any:
        good = await ctx.call("flaky", 3)
        try:
            await ctx.call("flaky", 4)
        except ChildFailed as failed:
            return [good, failed.task_id, failed.error["type"]]

    async with house() as home:
        home.hire(agent("flaky", flaky, max_attempts=3), agent("parent", parent))
        id = await home.submit("parent")
        ended = await home.ended(id)
        children = await home.children(id)

    assert json.loads(ended.output or "") == [3, children[1].id, "retryable"]
    assert [child.attempts for child in children] == [3, 3]
    assert ended.attempts == 1


async def test_a_failure_that_nobody_catches_is_told_with_the_child_and_not_tried_again() -> None:
    async def fails(ctx: Context, number: int) -> None:
        raise Permanent("no such part")

    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.call("fails", number)

    async with house() as home:
        home.hire(agent("fails", fails), agent("parent", parent))
        ended = await home.ended(id := await home.submit("parent"))
        (child,) = await home.children(id)

    found = error(ended)
    assert (found["type"], found["step"], ended.attempts) == ("child_failed", "call fails#0", 1)
    assert "no such part" in found["detail"]
    assert child.id in found["detail"]


async def test_a_replay_calls_no_child_again() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        first = await ctx.call("double", 1)
        if ctx.attempt < 3:
            raise ValueError("again")
        return [first, await ctx.call("double", 2)]

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        ended = await home.ended(id := await home.submit("parent"))
        children = await home.children(id)

    assert (ended.output, ended.attempts) == ("[2,4]", 3)
    assert [child.input for child in children] == ["1", "2"]


async def test_a_parent_that_is_tried_again_goes_on_with_the_child_that_still_runs() -> None:
    go, attempts = asyncio.Event(), list[int]()

    async def slow(ctx: Context, number: int) -> int:
        await ctx.step("gate", go.wait)
        return number

    async def parent(ctx: Context, number: int) -> Any:
        attempts.append(ctx.attempt)
        child = asyncio.ensure_future(ctx.call("slow", 7))
        await ctx.step("let it be called", asyncio.sleep, 0.02, key=str(ctx.attempt))
        if ctx.attempt == 1:
            child.cancel()
            raise ValueError("again")
        go.set()
        return await child

    async with house() as home:
        home.hire(agent("slow", slow), agent("parent", parent))
        ended = await home.ended(id := await home.submit("parent"))
        (child,) = await home.children(id)

    assert (ended.output, ended.attempts, child.attempts) == ("7", 2, 1)


async def test_a_child_that_ends_beside_a_working_branch_is_heard_of_in_the_same_claim() -> None:
    heard = asyncio.Event()

    async def parent(ctx: Context, number: int) -> Any:
        async def call() -> Any:
            found = await ctx.call("double", number)
            heard.set()
            return found

        return await asyncio.gather(call(), ctx.step("work", heard.wait))

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        ended = await home.ended(await home.submit("parent", 3))

    assert (ended.output, ended.fence) == ("[6,true]", 1)


async def test_children_run_on_workers_of_another_kind() -> None:
    twice, caller = agent("double", double, max_attempts=7, timeout=5.0), agent("calls", calls)
    async with house() as home:
        home.hire(caller, id="w1", callees=[twice, caller])
        home.hire(twice, id="w2")
        ended = await home.ended(id := await home.submit("calls", 4))
        (child,) = await home.children(id)

    assert ended.output == "8"
    assert (child.max_attempts, child.timeout) == (7, 5.0)


async def test_a_call_of_an_agent_that_nobody_runs_fails_and_names_those_there_are() -> None:
    async with house() as home:
        home.hire(agent("calls", calls), agent("triple", double))
        ended = await home.ended(id := await home.submit("calls"))
        assert await home.children(id) == []

    found = error(ended)
    assert (found["type"], found["step"], ended.attempts) == ("unknown_agent", "call double#0", 1)
    assert found["detail"] == "no agent 'double' runs in the background here; those that do: calls, triple"


async def test_an_input_over_the_limit_is_refused_and_the_way_is_named() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.call("echo", "x" * (RESULT_BYTES - 2 + number))

    async def echo(ctx: Context, number: int) -> int:
        return number

    async with house() as home:
        home.hire(agent("parent", parent), agent("echo", echo))
        fits = await home.ended(await home.submit("parent", 0))
        over = await home.ended(await home.submit("parent", 1))

    assert error(fits)["type"] == "child_failed", "it is called, and is no number"
    assert error(over)["type"] == "step_error"
    assert "ctx.artifact" in error(over)["detail"]


# maps


async def test_a_map_of_many_in_a_few_slots_comes_back_in_order() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("double", range(number), parallel=5)

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent), slots=2)
        ended = await home.ended(id := await home.submit("parent", 40))
        children = await home.children(id)

    assert json.loads(ended.output or "") == [2 * n for n in range(40)]
    assert len(children) == 40
    assert ended.attempts == 1
    assert ended.fence <= 25, "it is woken when half of those in flight have ended, not for each"


async def test_a_parallel_map_never_has_more_in_flight() -> None:
    flying, most = 0, 0

    async def flies(ctx: Context, number: int) -> None:
        async def fly() -> None:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.002)
            flying -= 1

        await ctx.step("fly", fly)

    async def parent(ctx: Context, number: int) -> None:
        await ctx.map("flies", range(20), parallel=number)

    async with house() as home:
        home.hire(agent("flies", flies), agent("parent", parent), slots=20)
        assert (await home.ended(await home.submit("parent", 3))).state == "completed"

    assert most == 3


async def test_a_map_without_a_bound_is_woken_once() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("double", range(number))

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        ended = await home.ended(await home.submit("parent", 30))

    assert (json.loads(ended.output or ""), ended.fence) == ([2 * n for n in range(30)], 2)


# again


async def test_a_retried_parent_takes_up_the_children_that_ended_with_it() -> None:
    broken = True

    async def child(ctx: Context, number: int) -> Any:
        await ctx.step("began", lambda: None)
        return await ctx.signal("word") if number else "quick"

    async def parent(ctx: Context, number: int) -> Any:
        calls = [asyncio.ensure_future(ctx.call("child", n, key=str(n))) for n in (0, 1)]
        await ctx.step("look", one_has_ended, ctx.task_id, key=str(ctx.attempt))
        if broken:
            raise Permanent("a bug")
        return await asyncio.gather(*calls)

    async def one_has_ended(id: str) -> None:
        while "completed" not in [each.state for each in await home.children(id)]:
            await asyncio.sleep(0.01)

    async with house() as home:
        home.hire(agent("child", child), agent("parent", parent))
        id = await home.submit("parent")
        assert (await home.ended(id)).state == "failed"
        children = [await home.ended(each.id) for each in await home.children(id)]
        assert sorted(each.state for each in children) == ["canceled", "completed"]

        broken = False
        await home.ledger.retry("", id)
        slow = next(each for each in children if each.state == "canceled")
        await home.until(slow.id, "waiting")
        await home.ledger.signal("", slow.id, "word", '"slow"')
        ended = await home.ended(id)

        assert ended.output == '["quick","slow"]'
        assert len(await home.children(id)) == 2
        assert (await home.events(slow.id)).count("step.completed") == 2
