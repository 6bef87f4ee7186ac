"""Ledger and workers together, without Ray: they crash at random points, and nothing is lost, doubled or run again."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from agents import Agent, Background, Context, Progress, Retry
from agents.ids import new_id
from cluster.claims import Answer, Beat, Hello, Orders, Picture, Report
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.pace import Pace
from cluster.sessions import Memory
from cluster.sqlite import SqliteStore
from cluster.store import Store, StoreFailed, Writes
from cluster.task import Filter, Once, Step, Task
from cluster.worker import Worker

from .making import submission, task

T = TypeVar("T")
SCHEDULES = 15  # for each store
FAULTS = 8  # in each schedule
TASKS = 12
QUICK = Background(retry=Retry(base=0.001, cap=0.002), max_attempts=50)


class Sums(BaseModel):
    """How many numbers to add up."""

    steps: int


class Chaos:
    """One schedule: a ledger that is killed and restarted, two workers that are, and calls that fail either way."""

    def __init__(self, seed: int, reopen: Reopen) -> None:
        self.roll = random.Random(seed)
        self._reopen = reopen
        self.ran_again: list[str] = []
        self.quiet = False
        self._ledger: Ledger | None = None
        self._ticks: asyncio.Task[None] | None = None
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._links: dict[str, Link] = {}
        self.loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Chaos:
        self.store = await self._reopen(None)
        self.start_ledger()
        for _ in range(2):
            self.start_worker()
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in list(self._workers):
            await self.kill_worker(worker, told=False)
        await self.kill_ledger()
        await self.store.close()

    # what the schedule does

    async def run(self) -> list[Task]:
        """Submit, let faults happen meanwhile, and wait until everything has ended."""
        submits = asyncio.create_task(self._submit())
        for _ in range(FAULTS):
            await asyncio.sleep(self.roll.random() * 0.02)
            await self._fault()
        self.quiet = True
        ids = await submits
        return [await self._ended(id) for id in ids]

    async def _submit(self) -> list[str]:
        ids = []
        for _ in range(TASKS):
            agent = self.roll.choice(["sums", "sums", "wanders"])
            one = task(agent=agent, input=f'{{"steps":{self.roll.randrange(4)}}}', max_attempts=50)
            await self.insist(lambda ledger, one=one: ledger.submit(submission(one)))  # type: ignore[misc]
            ids.append(one.id)
            await asyncio.sleep(self.roll.random() * 0.01)
        return ids

    async def _ended(self, id: str) -> Task:
        async with asyncio.timeout(20):
            while True:
                found = await self.insist(lambda ledger: ledger.task("", id, wait=1))
                assert found is not None, "an accepted task is lost"
                if found.ended:
                    return found

    async def _fault(self) -> None:
        match self.roll.choice(["ledger", "worker", "node", "nothing"]):
            case "ledger":
                await self.kill_ledger()
                self.start_ledger()
            case "worker" | "node" as which:
                worker = self.roll.choice(list(self._workers))
                await self.kill_worker(worker, told=True, fault=which == "worker")
                self.start_worker()

    # the processes

    def start_ledger(self) -> None:
        self._ledger = Ledger(self.store)
        self._ticks = asyncio.create_task(self._ledger.run())

    async def kill_ledger(self) -> None:
        """As SIGKILL: whatever was not committed is gone, and nobody is answered."""
        self._ledger = None
        if self._ticks is not None:
            self._ticks.cancel()
            await asyncio.wait([self._ticks])
            self.store = await self._reopen(self.store)

    def start_worker(self) -> None:
        id = new_id()
        agents: list[Agent[Any, Any]] = [Summing(self), Wandering(self), Replying(self)]
        slots = {"sums": 4, "wanders": 2, "replies": 1}
        pace = Pace(grace=0.5, flush=0.5, beat=0.01, pause=0.001, longest_pause=0.01)
        link = self._links[id] = Link(self)
        by_name = {agent.name: agent for agent in agents}
        worker = Worker(Hello(id, "cpu1", slots), by_name, link, "nowhere", die=lambda: None, pace=pace)
        self._workers[id] = asyncio.create_task(worker.run())

    async def kill_worker(self, id: str, *, told: bool, fault: bool = False) -> None:
        self._links.pop(id).cut = True
        run = self._workers.pop(id)
        run.cancel()
        await asyncio.wait([run])
        if told:
            await self.insist(lambda ledger: ledger.worker_lost(id, fault=fault))

    async def signal(self, id: str, name: str, payload: int, key: str) -> None:
        """As a client does that insists, and sends its key along."""
        once = Once("signal", f"{key}-{payload}", "")
        await self.insist(lambda ledger: ledger.signal("", id, name, str(payload), once))

    def note(self, id: str, step: str, recorded: list[Step]) -> None:
        """A step runs; it must not be recorded."""
        if step in {each.name + each.key for each in recorded}:
            self.ran_again.append(f"{id} {step}")

    def luck(self) -> None:
        """Raises now and then."""
        if not self.quiet and self.roll.random() < 0.1:
            raise RuntimeError("flaky")

    async def insist(self, ask: Callable[[Ledger], Awaitable[T]]) -> T:
        """Ask until somebody answers, as clients do; a call that hangs is asked again."""
        while True:
            with suppress(Unavailable, TimeoutError):
                return await self.attempt(ask)
            await asyncio.sleep(0.001)

    async def attempt(self, ask: Callable[[Ledger], Awaitable[T]]) -> T:
        """One call to the ledger, which may fail before or after it is applied, or die over it."""
        fate = "" if self.quiet else self.roll.choice(["", "", "", "", "before", "after"])
        ledger = self._ledger
        if ledger is None or fate == "before":
            raise Unavailable("told to")
        asked = asyncio.ensure_future(ask(ledger))
        while not asked.done():
            await asyncio.wait([asked], timeout=0.01)
            if self._ledger is not ledger:
                asked.cancel()
                raise Unavailable("it died")
        if fate == "after":
            asked.exception()
            raise Unavailable("told to, afterwards")
        return asked.result()


class Link:
    """A worker's way to whichever ledger lives now."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self.cut = False

    async def pull(self, worker: Hello, call: int) -> Orders:
        return await self._ask(lambda ledger: ledger.pull(worker, call))

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        return await self._ask(lambda ledger: ledger.report(worker, call, reports))

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        return await self._ask(lambda ledger: ledger.memory(tenant, agent, session))

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        return await self._ask(lambda ledger: ledger.remember(tenant, agent, session, version, value, writer))

    def beat(self, worker: str, seen: Picture) -> Beat:
        asked = self._ask(lambda ledger: ledger.beat(worker, seen))
        try:
            return asyncio.run_coroutine_threadsafe(asked, self._chaos.loop).result(1)
        except Exception as error:
            raise Unavailable(str(error)) from error

    async def _ask(self, ask: Callable[[Ledger], Awaitable[T]]) -> T:
        if self.cut:
            raise Unavailable("this worker is dead")
        found = await self._chaos.attempt(ask)
        if self.cut:
            await asyncio.Event().wait()  # a dead process hears no answer
        return found


class Summing(Agent[Sums, int]):
    """Adds numbers up, one step each, and now and then raises."""

    name = "sums"
    version = "v1"
    background = QUICK

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos

    async def run(self, ctx: Context, sums: Sums) -> int:
        total = 0
        for number in range(sums.steps):
            await ctx.emit(Progress(message=str(number)))
            total += await ctx.step("add", self._add, ctx.task_id, number)
        return total

    async def _add(self, id: str, number: int) -> int:
        self._chaos.note(id, f"add#{number}", await self._chaos.store.steps("", id))
        await asyncio.sleep(self._chaos.roll.random() * 0.003)
        self._chaos.luck()
        return number


class Wandering(Agent[Sums, list[int]]):
    """Waits in every way: for the time, for itself, for another, and for those it calls."""

    name = "wanders"
    version = "v1"
    background = QUICK

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos

    async def run(self, ctx: Context, sums: Sums) -> list[int]:
        await ctx.emit(Progress(message="0"))
        sizes = range(sums.steps + 1)
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(self._hear(ctx, sums.steps))
            group.create_task(ctx.sleep(0.004))
            group.create_task(ctx.step("tell myself", lambda: self._tell(ctx, sums.steps)))
        reply, word = await asyncio.gather(ctx.call("replies", ctx.task_id), ctx.signal("reply"))
        try:
            late = await ctx.signal("never", timeout=0.003)
        except TimeoutError:
            late = -1
        self._chaos.luck()
        one = await ctx.call(Summing, sums)
        many = await ctx.map(Summing, [Sums(steps=size) for size in sizes], parallel=2)
        return [*heard.result(), reply, word, late, one, *many]

    async def _hear(self, ctx: Context, words: int) -> list[int]:
        return [await ctx.signal("word") for _ in range(words)]

    async def _tell(self, ctx: Context, words: int) -> None:
        self._chaos.note(ctx.task_id, "tell myself#0", await self._chaos.store.steps("", ctx.task_id))
        for word in range(words):
            await self._chaos.signal(ctx.task_id, "word", word, ctx.step_key)


class Replying(Agent[str, int]):
    """Sends the task that called it a signal."""

    name = "replies"
    version = "v1"
    background = QUICK

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos

    async def run(self, ctx: Context, caller: str) -> int:
        await ctx.step("reply", lambda: self._chaos.signal(caller, "reply", 7, ctx.step_key))
        await ctx.sleep(0.002)
        self._chaos.luck()
        return 8


class ShakyMemory(MemoryStore):
    """Refuses a commit now and then."""

    def __init__(self, roll: random.Random) -> None:
        super().__init__()
        self._roll = roll

    async def commit(self, writes: Writes) -> None:
        await asyncio.sleep(0)
        if self._roll.random() < 0.05:
            raise StoreFailed("told to")
        await super().commit(writes)
        await asyncio.sleep(0)


Reopen = Callable[[Store | None], Awaitable[Store]]


def memory(seed: int, folder: Path) -> Reopen:
    async def reopen(store: Store | None) -> Store:
        if store is None:
            store = ShakyMemory(random.Random(seed))
            owner = store.take()
            await store.open(owner.store_id, owner.generation)
        return store

    return reopen


def sqlite(seed: int, folder: Path) -> Reopen:
    path = folder / f"{seed}.db"
    owner = SqliteStore(path).take(create=True)

    async def reopen(store: Store | None) -> Store:
        if store is not None:
            await store.close()
        opened = SqliteStore(path)
        await opened.open(owner.store_id, owner.generation)
        return opened

    return reopen


@pytest.mark.slow
@pytest.mark.parametrize("stores", [memory, sqlite])
async def test_whatever_crashes_each_task_ends_once_and_no_recorded_step_runs_again(
    stores: Callable[[int, Path], Reopen], tmp_path: Path
) -> None:
    first = random.randrange(2**32)
    for seed in range(first, first + SCHEDULES):
        async with Chaos(seed, stores(seed, tmp_path)) as chaos:
            try:
                tasks = await chaos.run()
                await check(chaos, tasks)
            except BaseException as error:
                raise AssertionError(f"seed {seed} of {stores.__name__}: {error!r}") from error


async def check(chaos: Chaos, tasks: list[Task]) -> None:
    assert chaos.ran_again == []
    for ended in tasks:
        steps = int(ended.input.split(":")[1].rstrip("}"))
        children = await chaos.store.tasks("", Filter(parent_id=ended.id), None, 1000)
        if ended.agent == "sums":
            assert (ended.state, ended.output, children) == ("completed", str(sum(range(steps))), []), ended
        else:
            sums = [sum(range(size)) for size in (steps, *range(steps + 1))]
            output = [*range(steps), 8, 7, -1, *sums]
            assert (ended.state, json.loads(ended.output or "null")) == ("completed", output), ended
            assert Counter(child.agent for child in children) == {"replies": 1, "sums": steps + 2}
            assert ended.children == steps + 3
    everything = await chaos.store.tasks("", Filter(), None, 1000)
    assert len(everything) == TASKS + sum(ended.children for ended in tasks)
    for each in everything:
        await check_history(chaos, each)
    assert await chaos.store.running() == []


async def check_history(chaos: Chaos, ended: Task) -> None:
    """Each event has its number, each step stands there once, and there is one end."""
    assert ended.state == "completed", ended
    steps = [step.name + step.key for step in await chaos.store.steps("", ended.id)]
    assert len(steps) == len(set(steps))
    if ended.agent == "sums":
        assert steps == [f"add#{number}" for number in range(int(ended.input.split(":")[1].rstrip("}")))]
    _, events = await chaos.store.events("", ended.id, -1, 10_000)
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[-1].type == "output"
    assert sum(event.type == "output" for event in events) == 1
    assert sum(event.type == "step.completed" for event in events) == len(steps)
    said = [event.data for event in events if event.type == "progress"]
    assert said == sorted(set(said)), "an emit outside of steps is told once"
    assert (await chaos.store.pasts([ended.ref]))[ended.ref].signals == (), "each signal was taken"
