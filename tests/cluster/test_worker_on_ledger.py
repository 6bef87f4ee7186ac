"""The worker and the ledger together: each keeps the other's promises."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from agents import Context, Progress
from cluster.claims import Hello
from cluster.ledger import Ledger
from cluster.task import State, Submission, Task
from cluster.worker import Worker
from tests.garbage import garbage

from .direct import Direct, opened, ticking
from .house import agent, error, house
from .making import submission, task
from .workers import Deaths, Given, Scripted, beat, pace


def worker(id: str, link: Direct, script: Any) -> Worker:
    hello = Hello(id, "cpu1", {"scripted": 4})
    return Worker(hello, {"scripted": Scripted(script)}, link, "nowhere", die=Deaths(), pace=pace(beat=0.01))


def several(count: int) -> Submission:
    return submission(*[task(agent="scripted", input=f'{{"n": {n}}}') for n in range(count)])


async def ended(ledger: Ledger, ids: tuple[str, ...]) -> list[Task]:
    async with asyncio.timeout(30):
        return [cast(Task, await ledger.task("", id, wait=30)) for id in ids]


async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def three_steps(ctx: Context, given: Given) -> int:
    total = given.n
    for number in range(3):
        await ctx.emit(Progress(message=str(number)))
        total = await ctx.step("add", add, total, 1)
    return total


async def test_tasks_end_once_with_each_step_recorded_once_though_calls_are_lost() -> None:
    dice = random.Random(7)
    store = await opened()
    async with ticking(store) as ledger:
        workers = [worker(f"w{n}", Direct(ledger, dice.random), three_steps) for n in range(2)]
        runs = [asyncio.create_task(each.run()) for each in workers]
        accepted = await ledger.submit(several(60))
        tasks = await ended(ledger, accepted.task_ids)
        for each in workers:
            each._link.roll = lambda: 1.0  # type: ignore[attr-defined]
            await each.stop()
        await asyncio.gather(*runs)

    assert [task.output for task in tasks] == [str(n + 3) for n in range(60)]
    assert all(task.attempts == 1 for task in tasks)
    for each_task in tasks:
        assert [step.name + step.key for step in await store.steps("", each_task.id)] == ["add#0", "add#1", "add#2"]
        _, events = await store.events("", each_task.id, -1, 100)
        kinds = [event.type for event in events if event.type != "attempt.started"]
        assert kinds == ["progress", "step.completed"] * 3 + ["output"]


async def test_a_new_ledger_over_the_same_store_goes_on_with_the_worker_and_its_runs() -> None:
    begun: list[str] = []
    go = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        begun.append(ctx.task_id)
        value = await ctx.step("add", add, given.n, 1)
        await go.wait()
        return await ctx.step("add", add, value, 1)

    store = await opened()
    async with ticking(store) as ledger:
        link = Direct(ledger)
        one = worker("w1", link, script)
        run = asyncio.create_task(one.run())
        accepted = await ledger.submit(several(3))
        while sum([len(await store.steps("", id)) for id in accepted.task_ids]) < 3:
            await asyncio.sleep(0.001)
    async with ticking(store) as ledger:
        link.ledger = ledger
        await beat(one)
        go.set()
        tasks = await ended(ledger, accepted.task_ids)
        run.cancel()
        await asyncio.wait([run])

    assert [task.output for task in tasks] == ["2", "3", "4"]
    assert sorted(begun) == sorted(accepted.task_ids)


async def test_what_a_lost_worker_recorded_is_not_run_again() -> None:
    ran: list[int] = []

    async def first(n: int) -> int:
        ran.append(n)
        return n

    async def hangs(ctx: Context, given: Given) -> int:
        await ctx.step("first", first, given.n)
        await asyncio.sleep(3600)
        return 0

    async def goes_on(ctx: Context, given: Given) -> int:
        return await ctx.step("add", add, await ctx.step("first", first, given.n), 1)

    store = await opened()
    async with ticking(store) as ledger:
        lost = asyncio.create_task(worker("w1", Direct(ledger), hangs).run())
        accepted = await ledger.submit(several(3))
        while sum([len(await store.steps("", id)) for id in accepted.task_ids]) < 3:
            await asyncio.sleep(0.001)
        lost.cancel()
        await asyncio.wait([lost])
        await ledger.worker_lost("w1", fault=False)
        other = worker("w2", Direct(ledger), goes_on)
        run = asyncio.create_task(other.run())
        tasks = await ended(ledger, accepted.task_ids)
        await other.stop()
        await run

    assert [task.output for task in tasks] == ["1", "2", "3"]
    assert sorted(ran) == [0, 1, 2]
    assert all(task.attempts == 1 for task in tasks)


async def test_a_cancel_reaches_the_run_at_once() -> None:
    async def script(ctx: Context, given: Given) -> int:
        await asyncio.sleep(3600)
        return 0

    store = await opened()
    async with ticking(store) as ledger:
        one = worker("w1", Direct(ledger), script)
        run = asyncio.create_task(one.run())
        accepted = await ledger.submit(several(1))
        while not one.held():
            await asyncio.sleep(0.001)
        await ledger.cancel("", accepted.task_ids[0])
        (task,) = await ended(ledger, accepted.task_ids)
        await one.stop()
        await run

    assert task.state == State.CANCELED


async def test_a_worker_that_stops_hands_its_tasks_to_the_next_uncounted() -> None:
    async def script(ctx: Context, given: Given) -> int:
        await asyncio.sleep(3600)
        return 0

    store = await opened()
    async with ticking(store) as ledger:
        first, second = worker("w1", Direct(ledger), script), worker("w2", Direct(ledger), three_steps)
        run = asyncio.create_task(first.run())
        accepted = await ledger.submit(several(3))
        while len(first.held()) < 3:
            await asyncio.sleep(0.001)
        await first.stop()
        await run
        run = asyncio.create_task(second.run())
        tasks = await ended(ledger, accepted.task_ids)
        await second.stop()
        await run

    assert [(task.output, task.attempts) for task in tasks] == [("3", 1), ("4", 1), ("5", 1)]


async def test_a_retry_by_hand_gives_a_task_and_the_children_that_ended_with_it_all_attempts_anew() -> None:
    ran: dict[str, set[int]] = {"parent": set(), "child": set()}

    async def calls(ctx: Context, number: int) -> Any:
        ran["parent"].add(ctx.attempt)
        if ctx.attempt in (1, 3):
            raise RuntimeError("not yet")
        return await ctx.call("child", number)

    async def fails(ctx: Context, number: int) -> int:
        ran["child"].add(ctx.attempt)
        if ctx.attempt == 2:
            await rooms.ledger.cancel("", parent)
            await asyncio.Event().wait()
        if ctx.attempt < 4:
            raise RuntimeError("not yet")
        return number

    async with house() as rooms:
        rooms.hire(agent("parent", calls), agent("child", fails), callees=[agent("child", fails, max_attempts=2)])
        parent = await rooms.submit("parent", 7, max_attempts=2)
        await rooms.ended(parent)
        (child,) = await rooms.children(parent)
        assert (await rooms.ended(child.id)).state == State.CANCELED

        await rooms.ledger.retry("", parent)
        done = await rooms.ended(parent)

    assert (done.state, error(done)) == (State.COMPLETED, {})
    assert ran == {"parent": {1, 2, 3, 4}, "child": {1, 2, 3, 4}}


@pytest.mark.slow
async def test_what_ran_is_freed_at_once() -> None:
    """The collector would have to look for it among all that the process has, and everything stands still then."""
    store = await opened()
    async with ticking(store) as ledger:
        busy = worker("w0", Direct(ledger, lambda: 1.0), three_steps)
        run = asyncio.create_task(busy.run())
        with garbage() as left:
            await ended(ledger, (await ledger.submit(several(5))).task_ids)
        await busy.stop()
        await run

    assert left == {}
