"""Where durable facts are kept: one transaction a tick, one owner at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from agents.ids import new_id

from .apikeys import ApiKey
from .errors import Fenced, StoreProblem
from .lanes import line
from .limits import Rule
from .schedule import Schedule
from .sessions import Session, SessionRef
from .task import Event, Filter, Ref, Step, Task

K = TypeVar("K")
Tally = defaultdict[K, int]


def tally() -> defaultdict[Any, int]:
    """Nothing of anything so far. It is only added to: what is looked up, stays in it."""
    return defaultdict(int)


class StoreFailed(Exception):
    """A transaction did not happen: nothing of it is stored. Or a read did not. The same store may work again later."""


class Owner(NamedTuple):
    """Who may write: the store's own id, the generation that owns it, and the last tick that was committed."""

    store_id: str
    generation: int
    tick: int


class Queue(NamedTuple):
    """The queued tasks that are served in one turn."""

    agent: str
    lane: str
    tenant: str
    limit_key: str

    @property
    def line(self) -> str:
        """Where workers ask for them."""
        return line(self.agent, self.lane) if self.lane else self.agent

    @property
    def owner(self) -> tuple[str, str]:
        """Whose turn it is: (tenant, limit key)."""
        return self.tenant, self.limit_key


LaneState = tuple[str, str, str]  # (agent, lane, state)
Served = tuple[str, str, float]  # the agent and the lane of a claim, and the seconds that a worker had it


class StepRow(NamedTuple):
    """A recorded step, and the report (of which claim, with which number) that brought it."""

    tenant: str
    task: str
    name: str
    key: str
    digest: str
    value: str
    seq: int
    attempt: int
    at: float
    fence: int
    report: int


class EventRow(NamedTuple):
    """A numbered event that no other row implies, and the report that brought it."""

    tenant: str
    task: str
    seq: int
    type: str
    at: float
    attempt: int
    step: str  # '' outside of steps
    data: str
    fence: int
    report: int


class SignalRow(NamedTuple):
    """A signal that was sent to a task; `number` counts the task's signals from 0."""

    tenant: str
    task: str
    number: int
    name: str
    payload: str
    at: float
    taken: int = 0  # 1: a recorded wait has had it


class KeyRow(NamedTuple):
    """What an idempotency key once created; `task_ids` is a JSON list. It lasts as long as the first of them."""

    tenant: str
    route: str
    key: str
    digest: str
    batch_id: str | None
    task_ids: str
    first: str  # the first of `task_ids`


class Reference(NamedTuple):
    """A task names an artifact, which must last as long as the task does."""

    tenant: str
    sha256: str
    task: str


@dataclass(slots=True)
class Writes:
    """Everything one tick commits. A task that moves twice in a tick is written once, as it ends up."""

    new: dict[Ref, Task] = field(default_factory=dict)
    moved: dict[Ref, Task] = field(default_factory=dict)
    twice: set[Ref] = field(default_factory=set)  # those of `moved` that more than one thing has happened to
    steps: list[StepRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    keys: dict[tuple[str, str, str], KeyRow] = field(default_factory=dict)  # by (tenant, route, key)
    signals: list[SignalRow] = field(default_factory=list)
    taken: list[tuple[str, str, int]] = field(default_factory=list)  # signals that a wait had: (tenant, task, number)
    references: set[Reference] = field(default_factory=set)
    rules: dict[tuple[str, str], Rule] = field(default_factory=dict)
    schedules: dict[tuple[str, str], Schedule | None] = field(default_factory=dict)  # by (tenant, name); None: gone
    api_keys: dict[tuple[str, str], ApiKey | None] = field(default_factory=dict)  # by (tenant, id); None: gone
    sessions: dict[SessionRef, Session | None] = field(default_factory=dict)  # None: gone
    gone: list[Ref] = field(default_factory=list)  # tasks to delete, with all that is kept of them
    counts: Tally[tuple[str, str]] = field(default_factory=tally)  # what `arrows` comes to, by (agent, state)
    arrows: Tally[tuple[str, str, str]] = field(default_factory=tally)  # by (agent, state before, state after)
    lanes: Tally[LaneState] = field(default_factory=tally)  # tasks in lanes that have not ended
    served: list[Served] = field(default_factory=list)  # claims that have come to an end
    claimed: list[Task] = field(default_factory=list)  # those of `moved` and `new` that a worker got ...
    ended: list[Task] = field(default_factory=list)  # ... and that ended, for whoever is told after the commit

    def __bool__(self) -> bool:
        return bool(self.new or self.moved or self.steps or self.events or self.has_more)

    @property
    def has_more(self) -> bool:
        """Whether there is anything but tasks, their steps and their events: few ticks have that."""
        return bool(
            self.keys
            or self.signals
            or self.taken
            or self.references
            or self.rules
            or self.schedules
            or self.api_keys
            or self.sessions
            or self.gone
        )

    @property
    def rows(self) -> int:
        """About how many rows it takes."""
        return len(self.new) + len(self.moved) + len(self.steps) + len(self.events) + len(self.gone)

    def put(self, task: Task) -> None:
        """The task as it is to be stored, whether this tick created it or not."""
        ref = (task.tenant, task.id)
        if ref in self.new:
            self.new[ref] = task
        else:
            if ref in self.moved:
                self.twice.add(ref)
            self.moved[ref] = task

    def pending(self) -> Iterable[Task]:
        """Every task this tick writes."""
        yield from self.new.values()
        yield from self.moved.values()

    def find(self, ref: Ref) -> Task | None:
        """The task as this tick leaves it, None if the tick does not write it."""
        return self.new.get(ref) or self.moved.get(ref)


class Progress(NamedTuple):
    """How far a task's numbering has come: events so far, and the last report applied of the claim asked for."""

    events: int
    report: int


class Past(NamedTuple):
    """What earlier claims of a task left behind."""

    steps: tuple[StepRow, ...] = ()  # in the order they were recorded
    emitted: int = 0  # events outside of steps
    started: tuple[str, ...] = ()  # steps that began once and for all and may not begin again, as `name + key`
    signals: tuple[SignalRow, ...] = ()  # those that no wait has taken, in order
    large: bool = False  # there is more than was asked for, and nothing of it is here


class Sweep(NamedTuple):
    """One look at some tasks in the order of their keys: those that are over, and where the next look begins."""

    over: tuple[Ref, ...]
    next: Ref | None  # None: that was the end


class Store(Protocol):
    """What a ledger needs of a database. One ledger opens it; every commit checks that it still owns it.

    Reads see committed facts only. Those that may look at many rows (`tasks`, `batch`, `dues`, `oldest`, `sweep`) do
    not hold up the loop for them. Where rows are large, those that have a next page (`tasks`, `in_batch`, `ready`,
    `wakes`, `overdue`, `children`, `untold`, `orphans`, `steps`, `events`) bring fewer than `limit`, as cluster.pages
    has it. A read raises Unavailable where the store cannot be reached.
    """

    async def open(self, store_id: str, generation: int) -> Owner:
        """Resume this generation, as soon as the store can be reached. Raises StoreProblem for another store or none,
        Fenced for a newer owner."""

    async def commit(self, writes: Writes) -> None:
        """All of it, or nothing: durable when this returns. Raises StoreFailed, or Fenced where the owner changed.

        StoreFailed also where a new task, step or key exists already. Unavailable where the store cannot be reached:
        then it has happened, or not, and the next read that a ledger goes by tells."""

    async def close(self) -> None:
        """Safe to call twice."""

    # tasks

    async def task(self, tenant: str, id: str) -> Task | None: ...

    async def many(self, refs: Sequence[Ref]) -> dict[Ref, Task]:
        """Those of these tasks that there are."""

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        """At most `limit` tasks of the tenant, newest first, ids below `after`."""

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        """At most `limit` tasks of a batch in the order of its inputs, ids above `after`."""

    async def batch(self, tenant: str, batch_id: str) -> dict[str, int]:
        """How many tasks of a batch are in each state."""

    # what a ledger goes by

    async def running(self) -> list[Task]: ...

    async def queues(self) -> list[Queue]:
        """Those with queued tasks, due or not."""

    async def ready(self, queue: Queue, now: float, limit: int) -> list[Task]:
        """The first `limit` tasks of a queue that are due: by priority, then rank, then age."""

    async def due(self, queue: Queue, now: float) -> float | None:
        """The moment after `now` at which the queue's next task becomes due, None if none does."""

    async def dues(self, now: float) -> list[tuple[Queue, float]]:
        """These moments of all queues that have one."""

    async def ahead(self, task: Task, now: float, limit: int) -> int:
        """How many tasks of its queue, at most `limit`, are due and come before this one."""

    async def wakes(self, now: float, limit: int) -> list[Task]:
        """Waiting tasks whose moment has come, the longest due first."""

    async def overdue(self, now: float, limit: int) -> list[Task]:
        """Queued and waiting tasks whose deadline has passed."""

    async def alarms(self) -> tuple[float | None, float | None]:
        """The next moments for `wakes` and for `overdue`, None where nothing waits for one."""

    async def counts(self) -> list[tuple[str, str, int]]:
        """How many tasks there are by (agent, state)."""

    async def lanes(self) -> list[tuple[str, str, str, int]]:
        """How many tasks that have not ended there are by (agent, lane, state), of those in a lane."""

    async def oldest(self, now: float) -> dict[str, float]:
        """Since when the first of each agent's queued tasks that are due could have started."""

    async def rules(self) -> list[Rule]: ...

    async def api_keys(self) -> list[ApiKey]: ...

    async def progress(self, tenant: str, id: str, fence: int) -> Progress: ...

    # what is kept of a task

    async def pasts(self, refs: Sequence[Ref], room: int = ...) -> dict[Ref, Past]:
        """What earlier claims left of the first of these tasks, as many as have no more than `room` bytes together, by
        `cluster.pages.heft`; one that has more by itself is `large`."""

    async def steps(self, tenant: str, id: str, after: int = ...) -> list[Step]:
        """A page of the recorded steps numbered above `after` (by default all), in the order they were recorded."""

    async def events(self, tenant: str, id: str, after: int, limit: int) -> tuple[Task | None, list[Event]]:
        """The task, and its events numbered above `after`, in order, both of one moment; those that other rows imply
        (`step.completed`, the first `attempt.started`, the ending) are among them."""

    async def key(self, tenant: str, route: str, key: str) -> KeyRow | None: ...

    # families

    async def children(self, tenant: str, parent_id: str, limit: int) -> list[Task]:
        """Children that have not ended and whose cancel was not asked for."""

    async def untold(self, limit: int) -> list[Task]:
        """Children that have ended while their parent's journal does not say so."""

    async def orphans(self, limit: int) -> list[Task]:
        """Parents that have ended or are to be canceled, with children that `children` would list."""

    # schedules

    async def schedules(self, tenant: str | None) -> list[Schedule]:
        """All of a tenant (None: of everybody), by name."""

    async def schedule(self, tenant: str, name: str) -> Schedule | None: ...

    async def of_schedule(self, tenant: str, name: str, limit: int) -> list[Task]:
        """At most `limit` tasks of a schedule that have not ended, oldest first."""

    # sessions

    async def session(self, tenant: str, agent: str, id: str, whole: bool = True) -> Session | None:
        """The session; unless it is wanted `whole`, with '' for its value, which may be long."""

    async def idle(self, before: float, limit: int) -> list[SessionRef]:
        """At most `limit` sessions that were last written before that moment, the oldest first."""

    # retention

    async def sweep(self, after: Ref | None, before: float, limit: int) -> Sweep:
        """Look at `limit` tasks: over are those that ended before that moment, as far as their parent, if they have
        one, knows of it and is gone or ended before that moment too."""

    async def referenced(self, tenant: str, sha256s: Sequence[str]) -> set[str]:
        """Those of these artifacts that some task names."""


def check_resume(owner: Owner | None, store_id: str, generation: int) -> Owner:
    """The owner, if this ledger may go on. Raises StoreProblem or Fenced."""
    if owner is None:
        raise StoreProblem("this store was never taken; `./rubato up` takes it")
    if owner.store_id != store_id:
        raise StoreProblem(f"another store lies here: expected {store_id}, found {owner.store_id}")
    if owner.generation != generation:
        raise Fenced(f"generation {owner.generation} owns the store; this ledger is of generation {generation}")
    return owner


def next_owner(owner: Owner | None, expect: str) -> Owner:
    """Who owns the store once it is taken. Raises StoreProblem where another one than `expect` ('': any) lies here."""
    if expect and (owner is None or owner.store_id != expect):
        found = owner.store_id if owner else "an empty one"
        raise StoreProblem(
            f"this is not the store that the state folder had (that was {expect}, this is {found});"
            " restore that one, or choose another folder with --state"
        )
    return Owner(new_id(), 1, 0) if owner is None else Owner(owner.store_id, owner.generation + 1, 0)
