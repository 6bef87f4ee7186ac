"""The processes of one schedule and what lies between them: ledgers over one disk, workers, a pool, and a wire."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple, TypeVar

from agents import Resources, RubatoError
from agents.resources import covers
from cluster.book import Clock
from cluster.claims import Beat, Claim, Report, StepDone
from cluster.errors import Fenced, StoreProblem, Unavailable
from cluster.ledger import Ledger
from cluster.store import Store, StoreFailed, Writes
from cluster.task import Ref, State, Task
from cluster.terms import Terms

from .disks import Disk
from .loop import Loop, Process
from .oracle import Oracle
from .programs import AGENTS, SHAPES
from .trouble import Trouble
from .workers import SimWorker

T = TypeVar("T")
EPOCH = 1_000_000.0


class Post(NamedTuple):
    """A place in the pool, which some worker always has: what it takes of its node, and which steps it is for."""

    name: str
    shape: Resources
    shapes: tuple[Resources | None, ...] = (None,)


POSTS = (
    Post("cpu", Resources(cpus=1, market="on_demand")),
    Post("cheap", Resources(cpus=1, market="spot")),
    Post("large", Resources(cpus=16, gpus=1, market="spot"), tuple(SHAPES.values())),
)


class Host:
    """A ledger's process."""

    def __init__(self, process: Process, generation: int) -> None:
        self.process = process
        self.generation = generation
        self.store: Store | None = None
        self.ledger: Ledger | None = None
        self.calls: dict[asyncio.Future[Any], None] = {}  # who waits for an answer of it; a set would have no order


class World:
    """Everything that happens in a schedule happens here, by the dice of its seed."""

    def __init__(self, seed: int, make_disk: Callable[[Trouble], Disk], dies_at: int = -1) -> None:
        self.roll = Random(seed)
        self.loop = Loop(Random(seed + 1), fair=self.roll.random() < 0.3)
        self.clock = Clock(lambda: EPOCH + self.loop.time(), self.loop.time)
        self.oracle = Oracle(self.clock.now)
        self.trouble = Trouble(self.roll, self.loop.time)
        self.trouble.committed = self._committed
        self.trouble.power_lost = self._power_lost
        self.disk = make_disk(self.trouble)
        self.quiet = False
        self.finishing = ("sums",) if seed % 3 == 2 else ()  # agents whose tasks finish with what began them
        self.version = 1  # of the code that workers start with
        self.begun: dict[Ref, tuple[int, str]] = {}  # by task of theirs, its newest claim and of which version it is
        self.first: Process | None = None  # the first ledger's
        self._dies_at = dies_at
        self.host: Host | None = None
        self.fenced: list[Host] = []  # of older generations, which may not know it yet
        self.workers: dict[str, SimWorker] = {}
        self.deaths: asyncio.Queue[tuple[SimWorker, float, bool]] = asyncio.Queue()
        self.losses = self.roll.choice((0.0, 0.05, 0.3))  # how many calls fail
        self.outside = self.loop.process("outside")
        self._said: list[tuple[float, int, Callable[[], str]]] = []
        self._numbers = 0
        self._once: set[tuple[str, str]] = set()

    # small things

    def note(self, what: str | Callable[[], str]) -> None:
        """Remember what happened, for whoever looks into a seed."""
        say = what if callable(what) else what.__str__
        self._said.append((self.loop.time(), self.loop.steps, say))

    def story(self) -> list[str]:
        """What happened, a line for each thing."""
        return [f"{at:9.3f} step {step:6d}  {say()}" for at, step, say in self._said]

    def nonce(self) -> int:
        self._numbers += 1
        return self._numbers

    @property
    def ledger_steps(self) -> int:
        """How many steps the first ledger took."""
        return self.first.steps if self.first else 0

    def id(self) -> str:
        """Ids sort by age."""
        return f"t{self.nonce():05d}"

    # the ledger

    def start_ledger(self) -> None:
        """As Ray starts the actor again: over the newest generation's store, until it works."""
        host = self.host = Host(self.loop.process(f"ledger{self.nonce()}"), self.disk.owner.generation)
        self.note(f"start {host.process} of generation {host.generation}")
        host.process.on_death = lambda: self._buried(host)
        host.process.dies_at, self._dies_at = self._dies_at, -1
        self.first = self.first or host.process
        self.loop.spawn(host.process, self._live(host))

    def kill_ledger(self) -> None:
        if self.host is not None:
            self.note(f"kill {self.host.process}")
            self.loop.kill(self.host.process)

    def take_over(self) -> None:
        """A new generation begins beside the old one, whose ledger may go on for a while."""
        if not self.disk.take():
            return
        old, self.host = self.host, None
        self.oracle.generation = self.disk.owner.generation
        self.note(f"generation {self.disk.owner.generation} begins")
        for worker in self.workers.values():
            worker.doubted = True
        if old is not None:
            self.fenced.append(old)
        self.start_ledger()

    async def _live(self, host: Host) -> None:
        try:
            host.store, owner = await self.disk.open(host.generation)
        except (Fenced, StoreProblem, StoreFailed, sqlite3.Error) as error:
            self.note(f"{host.process} does not start: {error}")
            self.loop.call_later(0.1, self.loop.kill, host.process)
            return
        # Every other generation leaves their leases to those who held claims of the one before.
        terms = Terms(shared=host.generation % 2 == 0)
        host.ledger = Ledger(host.store, self.clock, fresh=owner.tick == 0, terms=terms)
        await host.ledger.run()

    def _buried(self, host: Host) -> None:
        if host.store is not None:
            self.disk.crash(host.store)
        for answer in list(host.calls):
            if not answer.done():
                answer.set_exception(Unavailable("the ledger died"))
        if host is self.host:
            self.host = None
            self.loop.spawn(self.outside, self._start_later())
        elif host in self.fenced:
            self.fenced.remove(host)

    async def _start_later(self) -> None:
        await asyncio.sleep(self.roll.random() * 2)
        if self.host is None:
            self.start_ledger()

    def _power_lost(self, generation: int) -> None:
        host = self._of(generation)
        self.note(f"the machine of {host.process} loses power")
        self.loop.kill(host.process)

    def _of(self, generation: int) -> Host:
        return next(host for host in [self.host, *self.fenced] if host is not None and host.generation == generation)

    def _committed(self, writes: Writes, generation: int) -> None:
        host = self._of(generation)
        assert host.ledger is not None
        self.note(lambda: f"{host.process} commits {_brief(writes)}")
        with self.oracle.watching():
            ahead = host.ledger._ticks._ahead
            self.oracle.committed(writes, generation, host.ledger.book, ahead.writes if ahead else Writes())

    # the wire

    async def ask(self, ask: Callable[[Ledger], Awaitable[T]], *, of: Host | None = None) -> T:
        """One call to the ledger: lost on the way there, or back, or slow. Raises Unavailable."""
        roll = self.roll
        fate = roll.choice(("there", "back", "slow")) if not self.quiet and roll.random() < self.losses else ""
        await self._travel(fate)
        host = of or self.host
        if host is None or host.ledger is None or fate == "there":
            await asyncio.sleep(0.01)
            raise Unavailable("the ledger does not answer")
        answer: asyncio.Future[T] = self.loop.create_future()
        host.calls[answer] = None
        self.loop.spawn(host.process, self._serve(ask, host, answer))
        try:
            found = await answer
        finally:
            host.calls.pop(answer, None)
        await self._travel(fate)
        if fate == "back":
            raise Unavailable("the answer was lost")
        return found

    async def insist(self, ask: Callable[[Ledger], Awaitable[T]]) -> T:
        """Ask until it is answered."""
        while True:
            try:
                return await self.ask(ask)
            except Unavailable:
                await asyncio.sleep(self.roll.random())

    async def _travel(self, fate: str) -> None:
        if fate == "slow":
            await asyncio.sleep(self.roll.random() * 5)
        elif self.roll.random() < 0.5:
            await asyncio.sleep(self.roll.random() * 0.01)

    async def _serve(self, ask: Callable[[Ledger], Awaitable[T]], host: Host, answer: asyncio.Future[T]) -> None:
        assert host.ledger is not None
        try:
            outcome = await ask(host.ledger)
        except RubatoError as error:
            fenced = host.generation == self.oracle.generation and "fenced" in str(error)
            with self.oracle.watching():
                if fenced:
                    raise AssertionError(f"the newest generation's ledger says: {error}") from error
            if not answer.done():
                answer.set_exception(error)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it should not be
            self.oracle.broken.append(f"the ledger raised {error!r}")
        else:
            if not answer.done():
                answer.set_result(outcome)

    # the pool

    async def keep_workers(self) -> None:
        """As the pool does: a dead worker is reported, in its time, and replaced."""
        while True:
            self.staff()
            worker, pause, fault = await self.deaths.get()
            self.loop.spawn(self.outside, self._report_death(worker, pause, fault))

    def staff(self) -> None:
        """Each post has a worker of the newest version."""
        for post in POSTS:
            there = [worker for worker in self.workers.values() if worker.version == self.version]
            if not any(worker.post is post for worker in there):
                self.start_worker(post)

    async def _report_death(self, worker: SimWorker, pause: float, fault: bool) -> None:
        if pause < float("inf"):
            await asyncio.sleep(pause)
            await self.insist(lambda ledger: ledger.worker_lost(worker.id, fault=fault))

    def start_worker(self, post: Post) -> None:
        slots = {agent: self.roll.randint(1, 3) for agent in AGENTS}
        worker = SimWorker(self, f"w{self.nonce()}", post, slots)
        self.workers[worker.id] = worker
        self.oracle.slots[worker.id] = slots
        self.note(f"start {worker.id}, {post.name}")
        worker.start()

    def kill_worker(self, worker: SimWorker, *, pause: float, fault: bool) -> None:
        """SIGKILL; the ledger is told after this pause, or never."""
        if self.workers.pop(worker.id, None) is not None:
            self.note(f"kill {worker.id}, to be told in {pause:.1f} s, fault {fault}")
            self.oracle.silent.add(worker.id)
            self.loop.kill(worker.process)
            self.deaths.put_nowait((worker, pause, fault))

    def drain(self, worker: SimWorker) -> None:
        """It gives back what it holds, and its process ends."""
        if not worker.leaving:
            self.note(f"drain {worker.id}")
            worker.leave()
            self.loop.spawn(self.outside, self._end(worker))

    async def _end(self, worker: SimWorker) -> None:
        await asyncio.sleep(10)
        self.kill_worker(worker, pause=0.1, fault=False)

    def poisoned(self, worker: SimWorker) -> None:
        """A task takes its own worker down."""
        self.kill_worker(worker, pause=self.roll.random(), fault=True)

    # what workers tell of themselves

    def got(self, worker: SimWorker, claim: Claim) -> None:
        """A worker was handed a claim."""
        task, name = claim.task, f"claim {claim.task.fence} of {claim.task.id}"
        known = self.oracle.tasks.get(task.ref)
        assert known is not None, f"{name} is of a task that was never committed"
        assert task.worker == worker.id, f"{name} went to {worker.id} instead of {task.worker}"
        assert task.state == State.RUNNING, f"{name} is {task.state}"
        served = worker.made.lines_of(task.agent)
        assert task.line in served, f"{name} of {task.line} went to {worker.id}, which serves {served}"
        assert task.run_at <= claim.now, f"{name} was made {task.run_at - claim.now:.3f} s too early"
        late = task.deadline is not None and task.deadline <= claim.now
        assert not late, f"{name} was made after its deadline"
        if (version := worker.made.versions.get(task.agent)) is not None:
            self._began(task, version)

    def _began(self, task: Task, version: str) -> None:
        """A claim of a task that is to finish with the version that began it has come to a worker."""
        fence, before = self.begun.get(task.ref, (0, version))
        if task.fence < fence:
            return
        self.begun[task.ref] = task.fence, version
        begun = any(0 < row.fence < task.fence for row in self.oracle.steps[task.ref].values())
        free = self.oracle.retried[task.ref] or any(
            event.type == "moved" and json.loads(event.data)["from"] == before
            for event in self.oracle.events[task.ref].values()
        )
        assert version == before or not begun or free, f"{task.id}, begun by {before}, went on with {version}"

    def told(self, worker: SimWorker, beat: Beat) -> None:
        """A heartbeat was answered: what it says was committed."""
        for *ref, fence in (*beat.lost, *beat.cancels):
            task = self.oracle.tasks[ref[0], ref[1]]
            held = (task.state, task.fence, task.worker) == (State.RUNNING, fence, worker.id)
            what = "canceled" if (*ref, fence) in beat.cancels else "lost"
            true = not held or (what == "canceled" and task.cancel_requested_at is not None)
            assert true, f"{worker.id} was told that claim {fence} of {task.id} is {what}, and it is not"

    def ran(self, worker: SimWorker, task: Task, step: str, *, once: bool = False) -> None:
        """A worker begins a step."""
        needed = SHAPES.get(step.partition(":")[0])
        assert needed is None or covers(worker.post.shape, needed), f"{step} of {task.id} runs on {worker.id}"
        recorded = step in self.oracle.steps[task.ref]
        by = f"{worker.id} under claim {task.fence}"
        assert worker.doubted or not recorded, f"{step} of {task.id} is recorded, and runs again on {by}"
        if once:
            assert (task.id, step) not in self._once, f"{step} of {task.id} runs twice"
            self._once.add((task.id, step))

    def recorded(self, report: Report) -> None:
        """A report was answered: what it says is true from now on."""
        ref = report.tenant, report.task_id
        for entry in report.entries:
            if isinstance(entry, StepDone):
                row = self.oracle.steps[ref].get(entry.record.id.name + entry.record.id.key)
                same = row is not None and row.value == entry.record.value
                assert same, f"{entry.record.id} of {ref} was acknowledged, and is not recorded"
        if report.verdict is not None:
            task = self.oracle.tasks[ref]
            over = task.fence > report.fence or task.state != State.RUNNING
            assert over, f"the verdict on {ref} was acknowledged, and it still runs"


def _brief(writes: Writes) -> str:
    moved = [f"{task.id} {task.state} f{task.fence} {task.worker or ''}{task.lane}" for task in writes.pending()]
    return f"{', '.join(moved)}; {len(writes.steps)} steps, {len(writes.events)} events"
