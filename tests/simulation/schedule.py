"""One schedule: its faults and meddling by the dice of its seed, then quiet, then everything must have ended well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from cluster import chores, moves, ready, sqlite_writes, ticks, windows
from cluster.ledger import Ledger
from cluster.store import Store
from cluster.task import State, Task

from .clients import Clients
from .disks import Disk
from .loop import Stuck
from .programs import emits, output, steps
from .trouble import Trouble
from .upgrades import Upgrades
from .workers import SimWorker
from .world import World

PATIENCE = 240.0  # seconds, virtual ones, in which everything must have ended once it is quiet
SMALL = 0.85  # of the schedules have few tasks: they take milliseconds, and most of what is wrong shows in them
PATROL = 5.0  # seconds between two looks for what was forgotten
SIZES: tuple[tuple[Any, str, tuple[float, ...]], ...] = (  # smaller than life, so that few tasks reach them
    (windows, "WINDOW", (2, 5, 4096)),
    (windows, "REFILL", (2, 4, 2048)),
    (windows, "WINDOWS", (4, 32_768)),
    (ready, "REFILL_FULL", (2, 16)),
    (moves, "TICK", (3, 5000)),
    (ticks, "BESIDE", (0, 2, 16)),
    (sqlite_writes, "MOST", (1, 4, 64)),
    (chores, "SOME", (2, 500)),
    (chores, "PATROL", (PATROL,)),
)


class Broken(AssertionError):
    """A promise was broken; the text says which."""


class Schedule:
    """Runs one seed. Raises Broken."""

    def __init__(self, seed: int, make_disk: Callable[[Trouble], Disk], *, dies_at: int = -1) -> None:
        """`dies_at`: the step of its first ledger at which that one is killed."""
        self.world = World(seed, make_disk, dies_at)
        self.roll = self.world.roll
        self.small = self.roll.random() < SMALL
        self.clients = Clients(self.world, small=self.small)
        faults, within = (self.roll.choice((1, 1, 2, 3)), 250) if self.small else (self.roll.randrange(7), 1500)
        self._plan = sorted(self.roll.randrange(20, within) for _ in range(faults))
        self._due = 0
        self.world.loop.before_step = self._look

    def run(self) -> None:
        before = [getattr(module, name) for module, name, _ in SIZES]
        try:
            for module, name, sizes in SIZES:
                setattr(module, name, self.roll.choice(sizes))
            self.world.loop.run_until_complete(self._run())
        except Stuck as error:
            raise Broken(str(error)) from error
        finally:
            self.world.disk.close()
            for (module, name, _), value in zip(SIZES, before, strict=True):
                setattr(module, name, value)

    def _look(self, step: int) -> None:
        """Between two steps: stop at what is broken, and let the next fault happen in its step."""
        if self.world.oracle.broken or self.world.loop.faults:
            raise Broken("; ".join([*self.world.oracle.broken, *self.world.loop.faults]))
        while not self.world.quiet and self._due < len(self._plan) and self._plan[self._due] <= step:
            self._due += 1
            self._fault()

    def _fault(self) -> None:
        world, roll, loop = self.world, self.roll, self.world.loop
        workers = list(world.workers.values())
        match roll.choice(("ledger", "ledger", "worker", "node", "freeze", "leave", "takeover", "refuse", "silence")):
            case "ledger":
                world.kill_ledger()
            case "worker" | "node" as which if workers:
                pause = roll.choice((0.0, 1.0, 5.0, 40.0, float("inf")))
                world.kill_worker(roll.choice(workers), pause=pause, fault=which == "worker")
            case "freeze" if workers:
                self._freeze(roll.choice(workers))
            case "leave" if workers:
                world.drain(roll.choice(workers))
            case "takeover":
                world.take_over()
            case "refuse":
                world.note("the store refuses")
                world.trouble.refuses_until = loop.time() + roll.choice((0.5, 12.0))
            case "silence":
                world.note("the store is silent")
                world.trouble.refuses_until = world.trouble.silent_until = loop.time() + roll.choice((0.5, 12.0))

    def _freeze(self, worker: SimWorker) -> None:
        self.world.note(f"freeze {worker.id}")
        self.world.oracle.silent.add(worker.id)
        self.world.loop.stop_process(worker.process)
        after = self.roll.choice((1.0, 14.0, 16.0, 40.0))
        self.world.loop.call_later(after, self.world.loop.continue_process, worker.process)

    async def _run(self) -> None:
        world = self.world
        world.start_ledger()
        world.loop.spawn(world.outside, world.keep_workers())
        if world.finishing:
            upgrades = Upgrades(world)
            world.loop.spawn(world.outside, upgrades.run())
            world.loop.spawn(world.outside, upgrades.keep_releasing())
        number = 1 if self.small else self.roll.choice((1, 1, 2))
        meddlers = [world.loop.spawn(world.outside, self._meddle()) for _ in range(number)]
        await asyncio.wait(meddlers)
        for meddler in meddlers:
            meddler.result()
        await self._calm_down()
        await self._wait_for_the_end()
        await self._check()

    async def _meddle(self) -> None:
        for _ in range(self.roll.choice((1, 1, 2) if self.small else (1, 2, 2, 4))):
            await self.clients.submit()
            await asyncio.sleep(self.roll.random() * 2)
            for _ in range(self.roll.choice((0, 1, 3))):
                await self.clients.meddle()
                await asyncio.sleep(self.roll.random() * 2)

    async def _calm_down(self) -> None:
        world = self.world
        world.note("quiet")
        world.quiet = world.trouble.quiet = True
        for host in list(world.fenced):
            world.loop.kill(host.process)
        await self._ledger()

    async def _ledger(self) -> tuple[Ledger, Store]:
        """The one that lives, once there is one."""
        while (host := self.world.host) is None or host.ledger is None or host.store is None:
            await asyncio.sleep(0.5)
        return host.ledger, host.store

    async def _wait_for_the_end(self) -> None:
        ends = self.world.loop.time() + PATIENCE
        while not all(task.ended for task in self.world.oracle.tasks.values()):
            if self.world.loop.time() > ends:
                left = [task for task in self.world.oracle.tasks.values() if not task.ended]
                raise Broken(f"these never end: {[_brief(task) for task in left]}")
            await self.clients.feed()
            await asyncio.sleep(1.0)
        await asyncio.sleep(PATROL + 1)  # for what an earlier ledger did not come to

    # at the end

    async def _check(self) -> None:
        oracle = self.world.oracle
        ledger, store = await self._ledger()
        for ref in self.clients.accepted:
            assert ref in oracle.tasks, f"{ref} was accepted, and is lost"
        book = ledger.book
        left = (
            book.running,
            +book.using,
            +book.busy,
            book.canceling,
            {w for w, held in book.by_worker.items() if held},
        )
        assert not any(left), f"a claim is left: {left}"
        counts = {(agent, state): number for agent, state, number in await store.counts() if number}
        assert counts == oracle.recount(), f"the store counts {counts}, and there are {oracle.recount()}"
        assert await store.lanes() == [], f"the store counts {await store.lanes()} in lanes, and all have ended"
        assert await store.untold(10) == [], "a parent was not told of its child's end"
        assert await store.orphans(10) == [], "a child goes on without its parent"
        for task in oracle.tasks.values():
            await self._check_task(store, task)

    async def _check_task(self, store: Store, task: Task) -> None:
        oracle, name = self.world.oracle, f"{task.id} ({task.state})"
        assert await store.task(*task.ref) == task, f"{name} is stored otherwise: {await store.task(*task.ref)}"
        _, events = await store.events(*task.ref, -1, 100_000)
        numbers = [event.seq for event in events]
        assert numbers == list(range(task.events)), f"{name} has {task.events} events: {numbers}"
        kinds = [event.type for event in events]
        endings = sum(kind in ("output", "failed", "canceled") for kind in kinds)
        assert endings == oracle.retried[task.ref] + 1, f"{name} ended {endings} times"
        assert kinds[-1:] in (["output"], ["failed"], ["canceled"]), f"{name} has {kinds[-1:]} after its end"
        journal = {step.name + step.key: step.value for step in await store.steps(*task.ref)}
        kept = {id: row.value for id, row in oracle.steps[task.ref].items()}
        assert journal == kept, f"{name} has {journal}, and {kept} was recorded"
        assert kinds.count("step.completed") == len(journal), f"{name} has another number of steps than events"
        self._check_signals(name, task, journal)
        if task.state == State.COMPLETED:
            self._check_output(name, task, journal, kinds)

    def _check_output(self, name: str, task: Task, journal: dict[str, str], kinds: list[str]) -> None:
        program = json.loads(task.input)
        must = set(steps(program))
        known = {id for id in journal if not id.partition(":")[0].endswith(" until")}
        assert must <= known, f"{name} has completed without {must - known}"
        expected = json.dumps(output(program, journal)) if must <= known else None
        assert task.output == expected, f"{name} returned {task.output}, and its journal says {expected}"
        said = kinds.count("progress")
        assert said == emits(program), f"{name} said {said} things, and has {emits(program)} to say"

    def _check_signals(self, name: str, task: Task, journal: dict[str, str]) -> None:
        """Each was had once, those of one name in their order."""
        had = [
            json.loads(value)["payload"]
            for id, value in journal.items()
            if id.startswith("signal ") and "payload" in value
        ]
        rows = self.world.oracle.signals[task.ref]
        taken = self.world.oracle.taken[task.ref]
        sent = [json.loads(rows[number].payload) for number in taken]
        if task.fence and not any(row.report == 0 for row in self.world.oracle.steps[task.ref].values()):
            assert sorted(had) == sorted(sent), f"{name} had {had}, of which {sent} are taken"
        for one in {row.name for row in rows}:
            numbers = [number for number in taken if rows[number].name == one]
            first = [row.number for row in rows if row.name == one][: len(numbers)]
            assert sorted(numbers) == first, f"{name} took {numbers} of {one}, and {first} came first"


def _brief(task: Task) -> str:
    moving = {name: getattr(task, name) for name in Task._fields[Task._fields.index("state") :]}
    return f"{task.id} {task.input} { ({name: value for name, value in moving.items() if value}) }"
