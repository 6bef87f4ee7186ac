"""The store as dicts, for tests and for trying things out: nothing survives the process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from .apikeys import ApiKey
from .errors import Fenced
from .history import EMITTED, assemble, discarding, implied, restarts
from .limits import Rule
from .pages import ALL, cut, heft, weight, whole, within
from .schedule import Schedule
from .sessions import Session, SessionRef
from .store import (
    EventRow,
    KeyRow,
    LaneState,
    Owner,
    Past,
    Progress,
    Queue,
    Reference,
    SignalRow,
    StepRow,
    StoreFailed,
    Sweep,
    Writes,
    check_resume,
    next_owner,
)
from .task import UNTOLD, Event, Filter, Ref, State, Step, Task

_IDLE = (State.QUEUED, State.WAITING)


class MemoryStore:
    """What another store keeps on disk; `take` again is another owner, as after a restart elsewhere."""

    def __init__(self) -> None:
        self._owner: Owner | None = None
        self._opened: Owner | None = None
        self._tasks: dict[Ref, Task] = {}
        self._steps: dict[Ref, list[StepRow]] = {}
        self._events: dict[Ref, list[EventRow]] = {}
        self._signals: dict[Ref, dict[int, SignalRow]] = {}
        self._keys: dict[tuple[str, str, str], KeyRow] = {}
        self._rules: dict[tuple[str, str], Rule] = {}
        self._schedules: dict[tuple[str, str], Schedule] = {}
        self._api_keys: dict[tuple[str, str], ApiKey] = {}
        self._sessions: dict[SessionRef, Session] = {}
        self._references: set[Reference] = set()
        self._lanes: Counter[LaneState] = Counter()

    def take(self, *, create: bool = True, expect: str = "") -> Owner:
        """Become the next owner."""
        self._owner = next_owner(self._owner, expect)
        return self._owner

    async def open(self, store_id: str, generation: int) -> Owner:
        self._opened = check_resume(self._owner, store_id, generation)
        return self._opened

    async def close(self) -> None:
        return

    async def commit(self, writes: Writes) -> None:
        if self._owner != self._opened or self._owner is None:
            raise Fenced(f"the store has another owner than {self._opened}")
        self._check(writes)
        self._tasks |= writes.new | writes.moved
        for step in writes.steps:
            self._steps.setdefault((step.tenant, step.task), []).append(step)
        for event in writes.events:
            self._events.setdefault((event.tenant, event.task), []).append(event)
        for signal in writes.signals:
            self._signals.setdefault((signal.tenant, signal.task), {})[signal.number] = signal
        for tenant, id, number in writes.taken:
            rows = self._signals[tenant, id]
            rows[number] = rows[number]._replace(taken=1)
        self._keys |= writes.keys
        self._rules |= writes.rules
        self._schedules |= {key: found for key, found in writes.schedules.items() if found is not None}
        for key in [key for key, found in writes.schedules.items() if found is None]:
            self._schedules.pop(key, None)
        self._api_keys |= {ref: key for ref, key in writes.api_keys.items() if key is not None}
        for ref in [ref for ref, key in writes.api_keys.items() if key is None]:
            self._api_keys.pop(ref, None)
        self._sessions |= {ref: session for ref, session in writes.sessions.items() if session is not None}
        for ref3 in [ref for ref, session in writes.sessions.items() if session is None]:
            self._sessions.pop(ref3, None)
        self._references |= writes.references
        self._lanes.update(writes.lanes)
        for ref in writes.gone:
            self._forget(ref)
        self._owner = self._opened = self._owner._replace(tick=self._owner.tick + 1)

    def _check(self, writes: Writes) -> None:
        """Raises StoreFailed as a database does where a key exists."""
        if any(ref in self._tasks for ref in writes.new):
            raise StoreFailed("a task of this id exists")
        if any(key in self._keys for key in writes.keys):
            raise StoreFailed("this key exists")
        for step in writes.steps:
            taken = {(row.name, row.key) for row in self._steps.get((step.tenant, step.task), ())}
            if (step.name, step.key) in taken:
                raise StoreFailed("a step of this id is recorded")
        for event in writes.events:
            if any(row.seq == event.seq for row in self._events.get((event.tenant, event.task), ())):
                raise StoreFailed("an event of this number exists")
        for signal in writes.signals:
            if signal.number in self._signals.get((signal.tenant, signal.task), {}):
                raise StoreFailed("a signal of this number exists")

    def _forget(self, ref: Ref) -> None:
        for kept in (self._tasks, self._steps, self._events, self._signals):
            kept.pop(ref, None)
        self._references = {row for row in self._references if (row.tenant, row.task) != ref}
        self._keys = {key: row for key, row in self._keys.items() if (row.tenant, row.first) != ref}

    # tasks

    async def task(self, tenant: str, id: str) -> Task | None:
        return self._tasks.get((tenant, id))

    async def many(self, refs: Sequence[Ref]) -> dict[Ref, Task]:
        return {ref: self._tasks[ref] for ref in refs if ref in self._tasks}

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        keyed = {
            id
            for row in self._keys.values()
            if row.tenant == tenant and row.key == filter.idempotency_key
            for id in json.loads(row.task_ids)
        }
        found = self._those(
            lambda task: (
                task.tenant == tenant
                and filter.agent in (None, task.agent)
                and filter.state in (None, task.state)
                and filter.batch_id in (None, task.batch_id)
                and filter.parent_id in (None, task.parent_id)
                and filter.ended in (None, task.ended)
                and (filter.tag is None or filter.tag in json.loads(task.tags))
                and (filter.idempotency_key is None or task.id in keyed)
                and filter.session in (None, task.session)
                and (after is None or task.id < after)
            )
        )
        return cut(sorted(found, key=lambda task: task.id, reverse=True)[:limit], weight)

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        found = self._those(lambda task: (task.tenant, task.batch_id) == (tenant, batch_id) and task.id > after)
        return cut(sorted(found, key=lambda task: task.id)[:limit], weight)

    async def batch(self, tenant: str, batch_id: str) -> dict[str, int]:
        return dict(Counter(task.state for task in self._those(lambda t: (t.tenant, t.batch_id) == (tenant, batch_id))))

    # what a ledger goes by

    async def running(self) -> list[Task]:
        return self._those(lambda task: task.state == State.RUNNING)

    async def queues(self) -> list[Queue]:
        return list({_queue(task) for task in self._those(lambda task: task.state == State.QUEUED)})

    async def ready(self, queue: Queue, now: float, limit: int) -> list[Task]:
        return cut(sorted(self._queued(queue, now), key=_place)[:limit], weight)

    async def due(self, queue: Queue, now: float) -> float | None:
        later = self._those(lambda task: task.state == State.QUEUED and _queue(task) == queue and task.run_at > now)
        return min((task.run_at for task in later), default=None)

    async def dues(self, now: float) -> list[tuple[Queue, float]]:
        found = [(queue, await self.due(queue, now)) for queue in await self.queues()]
        return [(queue, at) for queue, at in found if at is not None]

    async def ahead(self, task: Task, now: float, limit: int) -> int:
        return min(limit, sum(1 for other in self._queued(_queue(task), now) if _place(other) < _place(task)))

    async def wakes(self, now: float, limit: int) -> list[Task]:
        found = self._those(lambda task: task.state == State.WAITING and 0 < task.run_at <= now)
        return cut(sorted(found, key=lambda task: task.run_at)[:limit], weight)

    async def overdue(self, now: float, limit: int) -> list[Task]:
        found = self._those(lambda task: task.state in _IDLE and task.deadline is not None and task.deadline <= now)
        return cut(sorted(found, key=lambda task: task.deadline or 0)[:limit], weight)

    async def alarms(self) -> tuple[float | None, float | None]:
        wakes = [task.run_at for task in self._those(lambda task: task.state == State.WAITING and task.run_at > 0)]
        deadlines = [task.deadline for task in self._those(lambda task: task.state in _IDLE) if task.deadline]
        return min(wakes, default=None), min(deadlines, default=None)

    async def counts(self) -> list[tuple[str, str, int]]:
        counted = Counter((task.agent, task.state) for task in self._tasks.values())
        return [(agent, state, number) for (agent, state), number in counted.items()]

    async def lanes(self) -> list[tuple[str, str, str, int]]:
        return [(*key, number) for key, number in self._lanes.items() if number]

    async def oldest(self, now: float) -> dict[str, float]:
        due = self._those(lambda task: task.state == State.QUEUED and task.run_at <= now)
        since = [(task.agent, max(task.created_at, task.run_at)) for task in due]
        return {agent: min(at for other, at in since if other == agent) for agent, _ in since}

    async def rules(self) -> list[Rule]:
        return list(self._rules.values())

    async def api_keys(self) -> list[ApiKey]:
        return list(self._api_keys.values())

    async def progress(self, tenant: str, id: str, fence: int) -> Progress:
        rows = [*self._steps.get((tenant, id), ()), *self._events.get((tenant, id), ())]
        events = 1 + max((row.seq for row in rows), default=0)
        return Progress(events, max((row.report for row in rows if row.fence == fence), default=0))

    # what is kept of a task

    async def pasts(self, refs: Sequence[Ref], room: int = ALL) -> dict[Ref, Past]:
        pasts = ((ref, self._past(ref)) for ref in refs)
        return within(((ref, Past(large=True) if whole(past) > room else past) for ref, past in pasts), room)

    async def steps(self, tenant: str, id: str, after: int = -1) -> list[Step]:
        rows = (row for row in self._step_rows((tenant, id)) if row.seq > after)
        return cut((Step(*(getattr(row, name) for name in Step._fields)) for row in rows), heft)

    async def events(self, tenant: str, id: str, after: int, limit: int) -> tuple[Task | None, list[Event]]:
        task = self._tasks.get((tenant, id))
        if task is None:
            return None, []
        ref = (tenant, id)
        rows = sorted([*self._events.get(ref, ()), *map(implied, self._steps.get(ref, ()))], key=lambda row: row.seq)
        page = assemble(task, [row for row in rows if row.seq > after][:limit], after, limit)
        if (later := restarts(page)) is not None:
            page = discarding(page, self._stale(ref, *later))
        return task, page

    async def key(self, tenant: str, route: str, key: str) -> KeyRow | None:
        return self._keys.get((tenant, route, key))

    # families

    async def children(self, tenant: str, parent_id: str, limit: int) -> list[Task]:
        return cut(self._children(tenant, parent_id)[:limit], weight)

    async def untold(self, limit: int) -> list[Task]:
        found = self._those(lambda task: task.parent_id is not None and task.ended and not task.told)
        return cut(found[:limit], weight)

    async def orphans(self, limit: int) -> list[Task]:
        over = self._those(lambda task: task.ended or task.cancel_requested_at is not None)
        return cut([task for task in over if self._children(task.tenant, task.id)][:limit], weight)

    # schedules

    async def schedules(self, tenant: str | None) -> list[Schedule]:
        found = [found for found in self._schedules.values() if tenant in (None, found.tenant)]
        return sorted(found, key=lambda schedule: (schedule.tenant, schedule.name))

    async def schedule(self, tenant: str, name: str) -> Schedule | None:
        return self._schedules.get((tenant, name))

    async def of_schedule(self, tenant: str, name: str, limit: int) -> list[Task]:
        found = self._those(lambda task: (task.tenant, task.schedule) == (tenant, name) and not task.ended)
        return sorted(found, key=lambda task: task.created_at)[:limit]

    # retention

    async def session(self, tenant: str, agent: str, id: str, whole: bool = True) -> Session | None:
        found = self._sessions.get((tenant, agent, id))
        return found if found is None or whole else found._replace(value="")

    async def idle(self, before: float, limit: int) -> list[SessionRef]:
        found = sorted(self._sessions.values(), key=lambda session: session.written_at)
        return [session.ref for session in found if session.written_at < before][:limit]

    async def sweep(self, after: Ref | None, before: float, limit: int) -> Sweep:
        page = sorted(ref for ref in self._tasks if ref > (after or ("", "")))[:limit]
        over = tuple(ref for ref in page if self._is_over(self._tasks[ref], before))
        return Sweep(over, page[-1] if len(page) == limit else None)

    async def referenced(self, tenant: str, sha256s: Sequence[str]) -> set[str]:
        return {row.sha256 for row in self._references if row.tenant == tenant} & set(sha256s)

    # parts

    def _those(self, condition: Callable[[Task], bool]) -> list[Task]:
        return [task for task in self._tasks.values() if condition(task)]

    def _queued(self, queue: Queue, now: float) -> list[Task]:
        return self._those(lambda task: task.state == State.QUEUED and _queue(task) == queue and task.run_at <= now)

    def _children(self, tenant: str, parent_id: str) -> list[Task]:
        return self._those(
            lambda task: (
                (task.tenant, task.parent_id) == (tenant, parent_id)
                and not task.ended
                and task.cancel_requested_at is None
            )
        )

    def _is_over(self, task: Task, before: float) -> bool:
        if task.ended_at is None or task.ended_at >= before:
            return False
        parent = self._tasks.get((task.tenant, task.parent_id or ""))
        ended = parent is None or (parent.ended_at is not None and parent.ended_at < before)
        return task.parent_id is None or (task.told != UNTOLD and ended)

    def _step_rows(self, ref: Ref) -> list[StepRow]:
        return sorted(self._steps.get(ref, ()), key=lambda row: row.seq)

    def _stale(self, ref: Ref, first: int, last: int) -> list[tuple[int, str]]:
        recorded = {row.name + row.key for row in self._steps.get(ref, ()) if row.seq < first}
        emitted = [row for row in self._events.get(ref, ()) if row.seq < last and row.step and row.type in EMITTED]
        return sorted((row.seq, row.step) for row in emitted if row.step not in recorded)

    def _past(self, ref: Ref) -> Past:
        recorded = self._step_rows(ref)
        events: Iterable[EventRow] = self._events.get(ref, ())
        done = {row.name + row.key for row in recorded}
        started = {row.step: None for row in events if row.type == "step.started" and row.step not in done}
        emitted = sum(1 for row in events if not row.step and row.type in EMITTED)
        signals = (row for _, row in sorted(self._signals.get(ref, {}).items()) if not row.taken)
        return Past(tuple(recorded), emitted, tuple(started), tuple(signals))


def _queue(task: Task) -> Queue:
    return Queue(task.agent, task.lane, task.tenant, task.limit_key)


def _place(task: Task) -> tuple[int, int, str]:
    return -task.priority, task.rank, task.id
