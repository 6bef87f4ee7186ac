"""When a step is durable, as its agent's policy says; and steps that may run once only."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents import Agent, Background, Context, Progress
from agents.policies import Durability
from cluster.claims import Called, Claim, Ending, Entry, Hello, StepDone, Verdict
from cluster.durable import Durable
from cluster.lease import Lease
from cluster.reports import ROOM, Line
from cluster.worker import Worker

from .callers import opened
from .house import agent, house
from .links import MemoryLink, Row
from .making import ManualClock, task
from .workers import Deaths, Given, Script, pace


class Held(MemoryLink):
    """Lets no report through until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def _reach(self, method: str, worker: Hello, call: int) -> bool:
        reached = await super()._reach(method, worker, call)
        if method == "report":
            await self.gate.wait()
        return reached


async def run(durability: Durability, script: Script) -> tuple[Held, Row, Worker, asyncio.Task[None]]:
    """A worker that has begun the script, whose reports are held."""

    class Acting(Agent[Given, int]):
        name = "scripted"
        background = Background(durability=durability)

        async def run(self, ctx: Context, given: Given) -> int:
            result: int = await script(ctx, given)
            return result

    link = Held()
    hello = Hello("w1", "cpu1", {"scripted": 1})
    worker = Worker(hello, {"scripted": Acting()}, link, "nowhere", die=Deaths(), pace=pace())
    row = link.submit()
    running = asyncio.create_task(worker.run())
    await link.until(lambda: row.task.worker == "w1")
    return link, row, worker, running


class Three:
    """Three steps, an event before each, and a gate."""

    def __init__(self) -> None:
        self.passed: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, ctx: Context, given: Given) -> int:
        for number in range(3):
            await ctx.emit(Progress(message=f"before {number}"))
            await ctx.step("add", self.add, number)
        await ctx.step("gate", self.go.wait)
        return 3

    async def add(self, number: int) -> None:
        self.passed.append(number)


@pytest.mark.parametrize(("durability", "runs_on"), [("sync", False), ("batched", True), ("exit", True)])
async def test_a_step_waits_for_its_commit_only_where_it_is_to_be_synced(durability: Durability, runs_on: bool) -> None:
    three = Three()
    link, row, worker, running = await run(durability, three)
    expected = [0, 1, 2] if runs_on else [0]
    await link.until(lambda: three.passed == expected)
    await asyncio.sleep(0.05)  # in which it would go on

    assert three.passed == expected
    assert row.entries == []
    link.gate.set()
    three.go.set()
    await link.ended(row)
    await worker.stop()
    await running
    assert row.steps == ["add#0", "add#1", "add#2", "gate#0"]
    assert [said for said in row.said if "before" in said] == [
        f'{{"message":"before {number}","data":null}}' for number in range(3)
    ]
    assert row.said[:2] == ['{"message":"before 0","data":null}', "add#0"], "in the order it happened"


async def test_a_run_that_is_kept_for_its_exit_sends_nothing_before_and_all_of_it_then() -> None:
    three = Three()
    link, row, worker, running = await run("exit", three)
    link.gate.set()
    await link.until(lambda: three.passed == [0, 1, 2])
    await asyncio.sleep(0.05)  # in which it would report

    assert link.reports == []
    three.go.set()
    await link.ended(row)
    await worker.stop()
    await running
    (report,) = link.reports
    assert len(report.entries) == 7
    assert report.verdict == Verdict(Ending.COMPLETED, output="3")


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["batched", "exit"])
async def test_what_gathers_unsent_is_bounded(durability: Durability) -> None:
    three = Three()

    async def many(ctx: Context, given: Given) -> int:
        for number in range(5 * ROOM):
            await ctx.step("add", three.add, number, key=str(number))
        return 1

    link, row, worker, running = await run(durability, many)
    while len(three.passed) < ROOM:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)

    assert len(three.passed) <= 3 * ROOM + 10  # what waits, and what is on its way
    link.gate.set()
    await link.ended(row)
    await worker.stop()
    await running
    assert row.steps == [f"add:{number}" for number in range(5 * ROOM)]


@pytest.mark.parametrize("durability", ["sync", "batched", "exit"])
async def test_the_start_of_a_step_that_may_run_once_is_always_committed_first(durability: Durability) -> None:
    begun = asyncio.Event()

    async def charges(ctx: Context, given: Given) -> int:
        await ctx.step("plan", lambda: 1)
        await ctx.step("charge", begun.set, once=True)
        return 1

    link, row, worker, running = await run(durability, charges)
    await asyncio.sleep(0.05)
    assert not begun.is_set()

    link.gate.set()
    await link.ended(row)
    await worker.stop()
    await running
    assert begun.is_set()
    assert [_kind(entry) for entry in row.entries] == ["plan#0", "step.started", "charge#0"]


def _kind(entry: Entry) -> str:
    match entry:
        case StepDone():
            return str(entry.record.id)
        case Called():
            return entry.id
        case _:
            return entry.type


async def test_a_step_that_may_run_once_and_whose_worker_died_over_it_fails_the_task_for_a_person() -> None:
    charged: list[str] = []
    stuck = asyncio.Event()

    async def charge(task_id: str) -> str:
        charged.append(task_id)
        if not stuck.is_set():
            stuck.set()
            await asyncio.sleep(3600)
        return "charged"

    async def script(ctx: Context, number: int) -> str:
        await ctx.step("plan", lambda: 1)
        return await ctx.step("charge", charge, ctx.task_id, once=True)

    async with house() as home:
        home.hire(agent("till", script))
        id = await home.submit("till")
        await asyncio.wait_for(stuck.wait(), 10)
        await home.kill()
        home.hire(agent("till", script), id="w2")
        ended = await home.ended(id)

        error = json.loads(ended.error or "")
        assert (error["type"], error["step"], ended.attempts) == ("step_outcome_unknown", "charge#0", 1)
        assert charged == [id]
        await home.ledger.retry("", id)
        again = await home.ended(id)
        assert (json.loads(again.error or "")["type"], charged) == ("step_outcome_unknown", [id])

        await home.ledger.fork("", id, "charge#0", new_id="f1", input=None, version="v1")
        assert (await home.ended("f1")).output == '"charged"'
        assert await home.recorded("f1") == ["plan#0", "charge#0"]
        assert "step.started" in await home.events(id)


async def test_a_step_that_may_run_once_and_is_recorded_is_like_any_other() -> None:
    charged: list[int] = []

    async def script(ctx: Context, number: int) -> int:
        await ctx.step("charge", charged.append, 1, once=True)
        await ctx.sleep(0.01)
        if ctx.attempt == 1:
            raise ValueError("again")
        return number

    async with house() as home:
        home.hire(agent("till", script))
        ended = await home.ended(await home.submit("till"))

    assert (ended.state, charged) == ("completed", [1])


async def test_what_is_kept_for_the_exit_goes_with_the_worker() -> None:
    ran: list[str] = []
    stuck = asyncio.Event()

    async def script(ctx: Context, number: int) -> str:
        await ctx.step("before", ran.append, "before")
        await ctx.sleep(0.3)  # long enough that the run unwinds first, however slow the machine is
        await ctx.step("after", ran.append, "after")
        if not stuck.is_set():
            stuck.set()
            await asyncio.sleep(3600)
        return "done"

    async with house() as home:
        home.hire(agent("lax", script, durability="exit"))
        id = await home.submit("lax")
        await asyncio.wait_for(stuck.wait(), 10)
        await home.kill()
        assert await home.recorded(id) == ["before#0", "sleep#0"]
        home.hire(agent("lax", script, durability="exit"), id="w2")
        assert (await home.ended(id)).output == '"done"'

    assert ran == ["before", "after", "after"]


@pytest.mark.parametrize("durability", ["batched", "exit"])
async def test_a_store_that_hangs_and_fails_while_a_result_is_stored_loses_nothing(durability: Durability) -> None:
    store, paid = await opened(), []

    def pay() -> int:
        paid.append(1)
        store.gate.clear()  # the next commit is that of the result
        return 1

    async with house(store=store) as home:
        home.hire(agent("payer", lambda ctx, number: ctx.step("pay", pay, once=True), durability=durability))
        id = await home.submit("payer")
        await home.until(id, "running")
        await asyncio.sleep(0.05)  # some heartbeats
        store.down = True
        store.gate.set()
        await asyncio.sleep(0.02)
        store.down = False
        ended = await home.ended(id)

    assert (ended.state, ended.fence, paid) == ("completed", 1, [1])


async def test_calls_are_sent_at_once_with_what_went_before() -> None:
    gate = asyncio.Event()

    async def child(ctx: Context, number: int) -> int:
        gate.set()
        return number

    async def parent(ctx: Context, number: int) -> Any:
        await ctx.step("before", lambda: 1)
        return await asyncio.gather(ctx.call("child", 5), ctx.step("work", gate.wait))

    async with house() as home:
        home.hire(agent("child", child), agent("parent", parent, durability="exit"))
        ended = await home.ended(id := await home.submit("parent"))
        steps = await home.recorded(id)

    assert ended.output == "[5,true]"
    assert steps[0] == "before#0"


@pytest.mark.parametrize("durability", ["", "sometimes", None])
def test_no_other_durability_is_known(durability: Any) -> None:
    with pytest.raises(ValueError, match="durability must be one of sync, batched, exit"):
        Background(durability=durability)


async def test_the_clock_that_waits_go_by_is_the_ledgers() -> None:
    """What the worker's own clock says is of no interest: it may be an hour ahead."""
    clock = ManualClock(5_000.0)
    line = Line(("", "t", 1), lambda line: None)
    claim = Claim(task(), now=1_000.0)
    lease = Lease(lambda: clock.time, clock.time)
    durable = Durable(claim, Background(), line, lease, pace(clock=lambda: clock.time), {}, clock.time)

    clock.advance(7)

    assert durable.now() == 1_007.0
