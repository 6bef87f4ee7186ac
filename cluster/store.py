"""Where durable facts are kept: one transaction a tick, one owner at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from .errors import Fenced, StoreProblem
from .task import Event, Filter, Step, Task

Ref = tuple[str, str]  # (tenant, task id)


class StoreFailed(Exception):
    """A transaction did not happen: nothing of it is stored. The same store may work again later."""


class Owner(NamedTuple):
    """Who may write: the store's own id, the generation that owns it, and the last tick that was committed."""

    store_id: str
    generation: int
    tick: int


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


class KeyRow(NamedTuple):
    """What an idempotency key once created; `task_ids` is a JSON list."""

    tenant: str
    route: str
    key: str
    digest: str
    batch_id: str | None
    task_ids: str


@dataclass(slots=True)
class Writes:
    """Everything one tick commits. A task that moves twice in a tick is written once, as it ends up."""

    new: dict[Ref, Task] = field(default_factory=dict)
    moved: dict[Ref, Task] = field(default_factory=dict)
    steps: list[StepRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.moved or self.steps or self.events or self.keys)

    def put(self, task: Task) -> None:
        """The task as it is to be stored, whether this tick created it or not."""
        ref = (task.tenant, task.id)
        (self.new if ref in self.new else self.moved)[ref] = task

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


class Store(Protocol):
    """What a ledger needs of a database. One ledger opens it; every commit checks that it still owns it."""

    def open(self, store_id: str, generation: int) -> Owner:
        """Resume this generation. Raises StoreProblem for another store or none, Fenced for a newer owner."""

    async def commit(self, writes: Writes) -> None:
        """All of it, or nothing: durable when this returns. Raises StoreFailed, or Fenced where the owner changed."""

    def task(self, tenant: str, id: str) -> Task | None: ...

    def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        """At most `limit` tasks of the tenant, newest first, ids below `after`."""

    def running(self) -> list[Task]: ...

    def ready(self, agent: str, now: float, limit: int) -> list[Task]:
        """The first `limit` queued tasks of an agent that are due: by priority, then age."""

    def due(self, now: float) -> list[tuple[str, float]]:
        """Each agent with queued tasks, and the moment after `now` at which its next becomes due (0: none does)."""

    def counts(self) -> list[tuple[str, str, int]]:
        """How many tasks there are by (agent, state)."""

    def progress(self, tenant: str, id: str, fence: int) -> Progress: ...

    def steps(self, tenant: str, id: str) -> list[Step]:
        """The recorded steps in the order they were recorded."""

    def events(self, tenant: str, id: str, after: int, limit: int) -> list[Event]:
        """Events numbered above `after`, in order; those that other rows imply (`step.completed`, the first
        `attempt.started`, the ending) are among them."""

    def emitted(self, tenant: str, id: str) -> int:
        """How many events the task's runs emitted outside of steps."""

    def key(self, tenant: str, route: str, key: str) -> KeyRow | None: ...

    def close(self) -> None: ...


def check_resume(owner: Owner | None, store_id: str, generation: int) -> Owner:
    """The owner, if this ledger may go on. Raises StoreProblem or Fenced."""
    if owner is None:
        raise StoreProblem("this store was never taken; `./rubato up` takes it")
    if owner.store_id != store_id:
        raise StoreProblem(f"another store lies here: expected {store_id}, found {owner.store_id}")
    if owner.generation != generation:
        raise Fenced(f"generation {owner.generation} owns the store; this ledger is of generation {generation}")
    return owner
