"""A map calls many, some at a time, and gives their outputs in the order of its inputs."""

from __future__ import annotations

from typing import Any

import pytest

from agents import ChildFailed, Context
from agents.errors import StepError
from agents.testing import Waiting

from .scripted import Pack, host, part, waiting


async def test_a_map_gives_outputs_in_the_order_of_its_inputs() -> None:
    async def script(ctx: Context) -> Any:
        assert await ctx.map(Pack, []) == []
        return [each.weight for each in await ctx.map(Pack, map(part, range(5)))]

    caller = host(script, agents=[Pack()])
    assert len((await waiting(caller)).children) == 5

    assert await caller.finish() == list(range(5))
    assert list(caller.children) == [f"map pack#1/{n}" for n in range(5)]


async def test_a_parallel_map_has_so_many_in_flight_and_calls_more_when_half_have_ended() -> None:
    flights: list[int] = []

    async def script(ctx: Context) -> Any:
        return [each.weight for each in await ctx.map(Pack, map(part, range(10)), parallel=4)]

    caller = host(script, agents=[Pack()])
    with pytest.raises(Waiting):
        await caller.run(None)
    while True:
        open = caller._unfinished()
        flights.append(len(open))
        for child in open[:2]:
            await child._go_on()
            caller._heard_from(child)
            assert caller._kept.ready == ((child is open[1] and len(caller.children) < 10) or not caller._unfinished())
        try:
            assert await caller.run() == list(range(10))
        except Waiting:
            continue
        break

    assert flights == [4, 4, 4, 4, 2]
    assert list(caller.children) == [f"map pack#0/{n}" for n in range(10)]


async def test_a_failure_in_a_map_is_raised_when_all_have_ended() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.map(Pack, map(part, [1, -1, 2, -2]))

    caller = host(script, agents=[Pack()])
    with pytest.raises(ChildFailed) as caught:
        await caller.finish(None)

    assert caught.value.task_id == caller.children["map pack#0/1"].task_id
    assert all(child.outcome for child in caller.children.values())


async def test_a_failure_in_a_parallel_map_calls_no_more_and_is_the_same_in_a_replay() -> None:
    seen: list[str] = []

    async def script(ctx: Context) -> Any:
        try:
            await ctx.map(Pack, map(part, [1, -1, -2, 3, 4, 5]), parallel=3)
        except ChildFailed as error:
            seen.append(error.task_id)
        await ctx.sleep(1)
        return "went on"

    caller = host(script, agents=[Pack()])
    await waiting(caller)
    children = list(caller.children.values())
    for child in (children[0], children[2]):  # half of three, the later failure among them
        await child._go_on()
        caller._heard_from(child)
    await waiting(caller)
    await children[1]._go_on()
    caller._heard_from(children[1])
    caller.advance(2)

    assert await caller.run() == "went on"
    assert seen == [children[2].task_id] * 2
    assert len(caller.children) == 3


@pytest.mark.parametrize("parallel", [0, -1, 1.5, "two"])
async def test_a_map_refuses_what_it_cannot_do(parallel: Any) -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.map(Pack, [part(1)], parallel=parallel)

    with pytest.raises(StepError, match="parallel must be a whole number"):
        await host(script, agents=[Pack()]).run(None)


async def test_a_map_has_a_limit() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.map("pack", range(10_001))

    with pytest.raises(StepError, match="at most 10000 inputs"):
        await host(script).run(None)
