"""A step that asks for another worker: the run goes there, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents import Context, Resources
from agents.errors import StepError
from cluster.lanes import Lane
from cluster.task import extra_json

from .house import House, agent, error, house

GPU, BIG = Resources(gpus=1), Resources(cpus=16)


class Places:
    """Where each step ran."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.ran: dict[str, asyncio.Task[Any]] = {}

    def at(self, worker: str) -> Callable[[Any], Callable[[Context, int], Awaitable[Any]]]:
        """The same script, on this worker."""

        def bound(script: Any) -> Callable[[Context, int], Awaitable[Any]]:
            async def run(ctx: Context, number: int) -> Any:
                async def step(name: str, resources: Resources | None = None, **named: Any) -> str:
                    def fn() -> str:
                        self.seen.append((name, worker))
                        return name

                    return await ctx.step(name, fn, resources=resources, **named)

                return await script(ctx, step, number)

            return run

        return bound


def staff(home: House, script: Any, *, gpu: int = 1, big: int = 0) -> Places:
    """A CPU worker, and workers with GPUs or many CPUs, which run the same agent."""
    places = Places()
    home.hire(agent("solver", places.at("cpu")(script)), id="cpu", shape=Resources(cpus=1))
    if gpu:
        home.hire(agent("solver", places.at("gpu")(script)), id="gpu", shape=Resources(gpus=1), shapes=(GPU,))
    if big:
        home.hire(agent("solver", places.at("big")(script)), id="big", shape=BIG, shapes=(BIG,))
    return places


async def test_the_cpu_reasons_and_the_gpu_computes() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> list[str]:
        found = [await step("read")]
        found += [await step("embed", GPU), await step("rank", GPU)]
        return [*found, await step("write")]

    async with house() as home:
        places = staff(home, solve)
        id = await home.submit("solver")
        task = await home.ended(id)

        assert task.output == '["read","embed","rank","write"]'
        assert places.seen == [("read", "cpu"), ("embed", "gpu"), ("rank", "gpu"), ("write", "cpu")]
        assert (task.attempts, task.lane) == (1, "")
        assert await home.events(id) == [
            *("attempt.started", "step.completed", "waiting"),
            *("step.completed", "step.completed", "waiting", "step.completed", "output"),
        ]


async def test_a_run_that_ends_where_it_moved_to_just_ends() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> str:
        return str(await step("embed", GPU))

    async with house() as home:
        places = staff(home, solve)
        task = await home.ended(await home.submit("solver"))

        assert (task.state, places.seen) == ("completed", [("embed", "gpu")])


async def test_a_worker_that_has_what_is_asked_runs_the_step_in_place() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> str:
        await step("a", Resources(cpus=0.5))
        return str(await step("b", Resources(cpus=1, market="any")))

    async with house() as home:
        places = staff(home, solve, gpu=0)
        id = await home.submit("solver")
        await home.ended(id)

        assert places.seen == [("a", "cpu"), ("b", "cpu")]
        assert "waiting" not in await home.events(id)


async def test_branches_that_ask_for_different_workers_get_them_one_after_the_other() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> list[str]:
        async def branch(name: str, shape: Resources) -> str:
            await step(f"think {name}")
            await step(f"compute {name}", shape)
            return str(await step(f"conclude {name}"))

        found = await asyncio.gather(branch("g", GPU), branch("b", BIG), ctx.sleep(0.05))
        return [name for name in found if name]

    async with house() as home:
        places = staff(home, solve, big=1)
        id = await home.submit("solver")
        task = await home.ended(id)

        assert (task.state, task.attempts) == ("completed", 1)
        assert sorted(places.seen) == sorted(set(places.seen))
        assert ("compute g", "gpu") in places.seen
        assert ("compute b", "big") in places.seen
        assert {where for name, where in places.seen if not name.startswith("compute")} == {"cpu"}


async def test_a_move_wins_over_the_waits_of_other_branches_which_go_on_afterwards() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> list[Any]:
        return list(await asyncio.gather(step("embed", GPU), ctx.signal("go")))

    async with house() as home:
        staff(home, solve)
        id = await home.submit("solver")
        waiting = await home.until(id, "waiting")
        await home.ledger.signal("", id, "go", "7")
        task = await home.ended(id)

        assert waiting.lane == ""
        assert task.output == '["embed",7]'
        assert (await home.recorded(id))[0] == "embed#0"


async def test_steps_of_a_lane_nobody_serves_wait_and_say_why() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> str:
        return str(await step("embed", GPU))

    async with house() as home:
        staff(home, solve, gpu=0)
        id = await home.submit("solver")
        async with asyncio.timeout(10):
            while not (await home.task(id)).lane:
                await asyncio.sleep(0.005)
        why = await home.ledger.why("", id)

        assert why is not None
        assert (why.reason, why.worker) == ("no_worker", "gpus=1")
        assert (await home.task(id)).lane == Lane(shape=GPU).text


async def test_a_worker_that_dies_in_such_a_step_leaves_the_task_to_the_next_one_there() -> None:
    begun = asyncio.Event()

    async def solve(ctx: Context, step: Any, number: int) -> str:
        first = await step("read")

        async def compute() -> str:
            begun.set()
            await asyncio.sleep(60 if not done else 0)
            return "computed"

        return f"{first} {await ctx.step('compute', compute, resources=GPU)} {await step('write')}"

    done: list[str] = []
    async with house() as home:
        places = staff(home, solve)
        id = await home.submit("solver")
        await asyncio.wait_for(begun.wait(), 10)
        done.append("die")
        await home.kill("gpu")
        home.hire(agent("solver", places.at("gpu2")(solve)), id="gpu2", shape=GPU, shapes=(GPU,))
        task = await home.ended(id)

        assert task.output == '"read computed write"'
        assert places.seen == [("read", "cpu"), ("write", "cpu")]
        assert task.attempts == 1


async def test_a_task_of_a_market_moves_within_it_and_may_not_ask_for_the_other() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> str:
        return str(await step("embed", GPU if number else Resources(gpus=1, market="on_demand")))

    spot, extra = Lane("spot").text, extra_json(market="spot")
    async with house() as home:
        places = Places()
        run = agent("solver", places.at("spot")(solve))
        home.hire(run, id="spot", shape=Resources(cpus=1, market="spot"))
        fits = await home.submit("solver", 1, lane=spot, extra=extra)
        never = await home.submit("solver", 0, lane=spot, extra=extra)
        failed = await home.ended(never)
        async with asyncio.timeout(10):
            while (await home.task(fits)).lane == spot:
                await asyncio.sleep(0.005)

        assert (await home.task(fits)).lane == Lane("spot", GPU).text
        assert "asks for an on-demand node, and its task may run on a spot node only" in error(failed)["detail"]


async def test_a_step_asks_for_resources_between_steps_only() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> str:
        async def outer() -> str:
            return str(await ctx.step("inner", lambda: "x", key="k", resources=GPU))

        with pytest.raises(StepError, match="cannot move"):
            await ctx.step("outer", outer)
        return str(await step("after"))

    async with house() as home:
        staff(home, solve, gpu=0)
        assert (await home.ended(await home.submit("solver"))).output == '"after"'


async def test_steps_inside_of_one_that_moved_run_where_it_does() -> None:
    async def solve(ctx: Context, step: Any, number: int) -> str:
        async def outer() -> str:
            return str(await step("inner", key="k"))

        return str(await ctx.step("outer", outer, resources=GPU))

    async with house() as home:
        places = staff(home, solve)
        task = await home.ended(await home.submit("solver"))

        assert (task.state, places.seen) == ("completed", [("inner", "gpu")])
