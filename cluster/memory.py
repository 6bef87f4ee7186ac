"""The store as dicts, for tests and for trying things out: nothing survives the process."""

from __future__ import annotations

import json
from collections import Counter

from agents.ids import new_id

from .errors import Fenced
from .history import EMITTED, assemble
from .store import EventRow, KeyRow, Owner, Progress, Ref, StepRow, StoreFailed, Writes, check_resume
from .task import Event, Filter, State, Step, Task


class MemoryStore:
    """What another store keeps on disk; `take` again is another owner, as after a restart elsewhere."""

    def __init__(self) -> None:
        self._owner: Owner | None = None
        self._opened: Owner | None = None
        self._tasks: dict[Ref, Task] = {}
        self._steps: dict[Ref, list[StepRow]] = {}
        self._events: dict[Ref, list[EventRow]] = {}
        self._keys: dict[tuple[str, str, str], KeyRow] = {}

    def take(self, *, create: bool = True) -> Owner:
        """Become the next owner."""
        old = self._owner
        self._owner = Owner(old.store_id, old.generation + 1, 0) if old else Owner(new_id(), 1, 0)
        return self._owner

    def open(self, store_id: str, generation: int) -> Owner:
        self._opened = check_resume(self._owner, store_id, generation)
        return self._opened

    async def commit(self, writes: Writes) -> None:
        if self._owner != self._opened or self._owner is None:
            raise Fenced(f"the store has another owner than {self._opened}")
        if any(ref in self._tasks for ref in writes.new):
            raise StoreFailed("a task of this id exists")
        taken = {(row.tenant, row.task, row.name, row.key) for rows in self._steps.values() for row in rows}
        if any((row.tenant, row.task, row.name, row.key) in taken for row in writes.steps):
            raise StoreFailed("a step of this id is recorded")
        self._tasks |= writes.new | writes.moved
        for step in writes.steps:
            self._steps.setdefault((step.tenant, step.task), []).append(step)
        for event in writes.events:
            self._events.setdefault((event.tenant, event.task), []).append(event)
        self._keys |= {(row.tenant, row.route, row.key): row for row in writes.keys}
        self._owner = self._opened = self._owner._replace(tick=self._owner.tick + 1)

    def task(self, tenant: str, id: str) -> Task | None:
        return self._tasks.get((tenant, id))

    def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        keyed = {
            id
            for row in self._keys.values()
            if row.tenant == tenant and row.key == filter.idempotency_key
            for id in json.loads(row.task_ids)
        }
        found = [
            task
            for task in self._tasks.values()
            if task.tenant == tenant
            and filter.agent in (None, task.agent)
            and filter.state in (None, task.state)
            and filter.batch_id in (None, task.batch_id)
            and (filter.tag is None or filter.tag in json.loads(task.tags))
            and (filter.idempotency_key is None or task.id in keyed)
            and (after is None or task.id < after)
        ]
        return sorted(found, key=lambda task: task.id, reverse=True)[:limit]

    def running(self) -> list[Task]:
        return [task for task in self._tasks.values() if task.state == State.RUNNING]

    def ready(self, agent: str, now: float, limit: int) -> list[Task]:
        found = [task for task in self._queued() if task.agent == agent and task.run_at <= now]
        return sorted(found, key=lambda task: (-task.priority, task.id))[:limit]

    def due(self, now: float) -> list[tuple[str, float]]:
        queued = self._queued()
        agents = {task.agent for task in queued}
        return [
            (agent, min((task.run_at for task in queued if task.agent == agent and task.run_at > now), default=0))
            for agent in agents
        ]

    def counts(self) -> list[tuple[str, str, int]]:
        counted = Counter((task.agent, task.state) for task in self._tasks.values())
        return [(agent, state, number) for (agent, state), number in counted.items()]

    def progress(self, tenant: str, id: str, fence: int) -> Progress:
        rows = [*self._steps.get((tenant, id), ()), *self._events.get((tenant, id), ())]
        events = 1 + max((row.seq for row in rows), default=0)
        return Progress(events, max((row.report for row in rows if row.fence == fence), default=0))

    def steps(self, tenant: str, id: str) -> list[Step]:
        rows = sorted(self._steps.get((tenant, id), ()), key=lambda row: row.seq)
        return [Step(row.name, row.key, row.digest, row.value, row.seq, row.attempt, row.at) for row in rows]

    def events(self, tenant: str, id: str, after: int, limit: int) -> list[Event]:
        task = self.task(tenant, id)
        if task is None:
            return []
        ref = (tenant, id)
        return assemble(task, self._steps.get(ref, ()), self._events.get(ref, ()), after)[:limit]

    def emitted(self, tenant: str, id: str) -> int:
        return sum(1 for row in self._events.get((tenant, id), ()) if not row.step and row.type in EMITTED)

    def key(self, tenant: str, route: str, key: str) -> KeyRow | None:
        return self._keys.get((tenant, route, key))

    def close(self) -> None:
        return

    def _queued(self) -> list[Task]:
        return [task for task in self._tasks.values() if task.state == State.QUEUED]
