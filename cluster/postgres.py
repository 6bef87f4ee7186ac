"""The store in a PostgreSQL database: one connection that writes, others that read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial, reduce
from typing import Any

from . import queries as sql
from .apikeys import ApiKey
from .errors import StoreProblem, Unavailable
from .history import EMITTED, assemble, discarding, restarts
from .limits import Rule
from .pages import ALL, PAGE_BYTES, ROW_BYTES
from .postgres_link import BY_FILTER, BY_INDEX, read_url
from .postgres_reads import Readers
from .postgres_writer import PAUSE, Writer
from .schedule import Schedule
from .sessions import Session, SessionRef
from .store import EventRow, KeyRow, Owner, Past, Progress, Queue, SignalRow, StepRow, Sweep, Writes
from .task import Event, Filter, Ref, Step, Task

log = logging.getLogger("rubato.store")

# Connections of each kind. The ledger's own reads wait in no line with those of its callers, and neither do for lists.
_OWN, _ASKED, _LISTS = 3, 4, 2

_DIALECT = sql.Dialect(
    "",
    "exists (select 1 from json_array_elements(tags::json) tag where tag::text=?)",  # the tag as JSON
    "id in (select jsonb_array_elements_text(k.task_ids::jsonb) from idempotency k where k.tenant=? and k.key=?)",
    "extra is not null and (extra::jsonb->>'session') collate \"C\"=?",
)


@lru_cache(256)
def _numbered(query: str) -> str:
    """The query with $1 and so on in the places of `?`."""
    first, *others = query.split("?")
    return first + "".join(f"${place}{part}" for place, part in enumerate(others, 1))


_WEIGHT = "+".join(f"coalesce(octet_length({column}),0)" for column in ("input", "output", "error"))


@lru_cache(256)
def _page(query: str, columns: str = sql.COLUMNS, weight: str = _WEIGHT) -> str:
    """The query for no more of its rows, in their order, than a page has."""
    before = f"sum({weight}) over (rows between unbounded preceding and 1 preceding)"
    return (
        f"select {columns} from (select {columns}, coalesce({before},0) before from ({query}) found) sized"
        f" where before<{PAGE_BYTES}"
    )


def _rows(type: str, fields: Sequence[str], rest: str) -> str:
    return f"array(select row({','.join(fields)})::{type} {rest})"


_TASK = ",".join(f"t.{name}" for name in Task._fields)
_ASKED_FOR = "unnest($1::text[], $2::text[]) r(tenant, id)"
_MANY = f"select {_TASK} from {_ASKED_FOR} join task t on t.tenant=r.tenant and t.id=r.id"
_OF_R = "x where x.tenant=r.tenant and x.task=r.id"
_BYTES = (
    f"(select coalesce(sum(octet_length(value)+{ROW_BYTES}),0) from step {_OF_R})"
    f" +(select coalesce(sum(octet_length(payload)+{ROW_BYTES}),0) from signal {_OF_R} and taken=0)"
)
_SIZED = f"select r.*, {_BYTES} bytes from unnest($1::text[], $2::text[]) with ordinality r(tenant, id, place)"
_FITTING = f"select *, sum(bytes) filter (where bytes<=$3) over (order by place) so_far from ({_SIZED}) r"
_PASTS = (  # of those that are too large by themselves there is a row without anything
    "select r.tenant, r.id, r.bytes<=$3,"
    f" {_rows('step_row', StepRow._fields, f'from step {_OF_R} and r.bytes<=$3 order by seq')},"
    f" (select count(*) from event {_OF_R} and step='' and type in {EMITTED}),"
    f" array(select distinct step from event {_OF_R} and type='step.started'),"
    f" {_rows('signal_row', SignalRow._fields, f'from signal {_OF_R} and taken=0 and r.bytes<=$3 order by number')}"
    f" from ({_FITTING}) r where coalesce(r.so_far,0)<=$3"
)
# Task and events in one statement, and so of one moment.
_PAGE = reduce(
    lambda query, value: query.replace("?", value, 1),
    ("$1", "$2", "$3", "$1", "$2", "$3", "$4"),
    _page(sql.EVENTS, ",".join(EventRow._fields), "octet_length(data)"),
)
_EVENTS = (
    f"select {_TASK}, {_rows('event_row', EventRow._fields, f'from ({_PAGE}) page')}"
    " from task t where t.tenant=$1 and t.id=$2"
)
_QUEUED = "select agent, lane, tenant, limit_key from task where state='queued'"
_NEXT = "order by agent, lane, tenant, limit_key limit 1"
_QUEUES = (  # from one queue to the next, however long each is
    f"with recursive q as (({_QUEUED} {_NEXT}) union all select n.* from q, lateral"
    f" ({_QUEUED} and (agent, lane, tenant, limit_key) > (q.agent, q.lane, q.tenant, q.limit_key) {_NEXT}) n)"
    " select * from q"
)
_REFERENCED = (
    "select s from unnest($2::text[]) s where (select true from reference where tenant=$1 and sha256=s limit 1)"
)
_JOURNAL = _page(sql.JOURNAL, ",".join(Step._fields), f"octet_length(value)+{ROW_BYTES}")
_ALARMS = f"select ({sql.NEXT_WAKE}), ({sql.NEXT_OVERDUE})"

# A record of a row, in half the time of Task(*row).
_task, _step = partial(tuple.__new__, Task), partial(tuple.__new__, StepRow)
_event, _signal = partial(tuple.__new__, EventRow), partial(tuple.__new__, SignalRow)


class PostgresStore:
    """A database, or a schema of one, to itself."""

    def __init__(self, where: str) -> None:
        self._address = read_url(where)
        self._writer = Writer(self._address)
        self._own = Readers(self._address, BY_INDEX, _OWN)
        self._asked = Readers(self._address, BY_INDEX, _ASKED)
        self._lists = Readers(self._address, BY_FILTER, _LISTS)
        self._opened = False

    def take(self, *, create: bool, expect: str = "") -> Owner:
        """As OwnedStore has it."""
        try:
            return asyncio.run(self._writer.take(create=create, expect=expect))
        except Unavailable as error:
            raise StoreProblem(str(error)) from None
        except StoreProblem as problem:
            raise StoreProblem(f"{self._address.shown}: {problem}") from None

    async def open(self, store_id: str, generation: int) -> Owner:
        while True:
            try:
                owner = await self._writer.open(store_id, generation)
            except StoreProblem as problem:
                raise StoreProblem(f"{self._address.shown}: {problem}") from None
            except Unavailable as error:
                log.warning("waiting for the store: %s", error)
                await asyncio.sleep(PAUSE)
            else:
                self._opened = True
                return owner

    async def commit(self, writes: Writes) -> None:
        assert self._opened, "commit before open"
        await self._writer.commit(writes)

    async def close(self) -> None:
        """Let go of all connections; safe to call twice."""
        self._opened = False
        self._writer.close()
        for readers in (self._own, self._asked, self._lists):
            readers.close()

    # tasks

    async def task(self, tenant: str, id: str) -> Task | None:
        rows = await self._asked.fetch(_numbered(sql.ONE), tenant, id)
        return _task(rows[0]) if rows else None

    async def many(self, refs: Sequence[Ref]) -> dict[Ref, Task]:
        found = map(_task, await self._look(_MANY, *_columns(dict.fromkeys(refs)))) if refs else ()
        return {task.ref: task for task in found}

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        if filter.tag is not None:
            filter = filter._replace(tag=json.dumps(filter.tag))
        query, values = sql.listing(_DIALECT, tenant, filter, after, limit)
        return await self._list(query, *values)

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        return await self._list(sql.IN_BATCH, tenant, batch_id, after, limit)

    async def batch(self, tenant: str, batch_id: str) -> dict[str, int]:
        return dict(await self._lists.fetch(_numbered(sql.BATCH), tenant, batch_id))

    # what a ledger goes by

    async def running(self) -> list[Task]:
        return await self._all(sql.RUNNING)

    async def queues(self) -> list[Queue]:
        return [Queue(*row) for row in await self._look(_QUEUES)]

    async def ready(self, queue: Queue, now: float, limit: int) -> list[Task]:
        return await self._tasks(sql.READY, *queue, now, limit)

    async def due(self, queue: Queue, now: float) -> float | None:
        return await self._value(sql.DUE, *queue, now)  # type: ignore[no-any-return]

    async def dues(self, now: float) -> list[tuple[Queue, float]]:
        return [(Queue(*queue), at) for *queue, at in await self._look(sql.DUES, now)]

    async def ahead(self, task: Task, now: float, limit: int) -> int:
        rows = await self._asked.fetch(_numbered(sql.AHEAD), *sql.ahead(task, now, limit))
        return int(rows[0][0])

    async def wakes(self, now: float, limit: int) -> list[Task]:
        return await self._tasks(sql.WAKES, now, limit)

    async def overdue(self, now: float, limit: int) -> list[Task]:
        return await self._tasks(sql.OVERDUE, now, limit)

    async def alarms(self) -> tuple[float | None, float | None]:
        (row,) = await self._look(_ALARMS)
        return tuple(row)

    async def counts(self) -> list[tuple[str, str, int]]:
        return list(map(tuple, await self._look(sql.COUNTS)))

    async def lanes(self) -> list[tuple[str, str, str, int]]:
        return list(map(tuple, await self._look(sql.LANES)))

    async def oldest(self, now: float) -> dict[str, float]:
        return dict(await self._lists.fetch(_numbered(sql.OLDEST), now))

    async def rules(self) -> list[Rule]:
        return [Rule(*row) for row in await self._look(sql.RULES)]

    async def api_keys(self) -> list[ApiKey]:
        return [ApiKey(*row) for row in await self._look(sql.API_KEYS)]

    async def progress(self, tenant: str, id: str, fence: int) -> Progress:
        ((last, report),) = await self._look(sql.PROGRESS, fence, tenant, id, tenant, id)
        return Progress(1 + last, report)

    # what is kept of a task

    async def pasts(self, refs: Sequence[Ref], room: int = ALL) -> dict[Ref, Past]:
        rows = await self._look(_PASTS, *_columns(dict.fromkeys(refs)), room) if refs else ()
        return {(tenant, id): _past(*past) if fits else Past(large=True) for tenant, id, fits, *past in rows}

    async def steps(self, tenant: str, id: str, after: int = -1) -> list[Step]:
        return [Step(*row) for row in await self._asked.fetch(_numbered(_JOURNAL), tenant, id, after)]

    async def events(self, tenant: str, id: str, after: int, limit: int) -> tuple[Task | None, list[Event]]:
        rows = await self._asked.fetch(_EVENTS, tenant, id, after, limit)
        if not rows:
            return None, []
        *fields, events = rows[0]
        task = _task(fields)
        page = assemble(task, map(_event, events), after, limit)
        if (later := restarts(page)) is not None:  # of what came before it nothing changes
            page = discarding(page, await self._asked.fetch(_numbered(sql.STALE), *sql.stale(tenant, id, *later)))
        return task, page

    async def key(self, tenant: str, route: str, key: str) -> KeyRow | None:
        rows = await self._look(sql.KEY, tenant, route, key)
        return KeyRow(*rows[0]) if rows else None

    # families

    async def children(self, tenant: str, parent_id: str, limit: int) -> list[Task]:
        return await self._tasks(sql.CHILDREN, tenant, parent_id, limit)

    async def untold(self, limit: int) -> list[Task]:
        return await self._tasks(sql.UNTOLD, limit)

    async def orphans(self, limit: int) -> list[Task]:
        return await self._tasks(sql.ORPHANS, limit)

    # schedules

    async def schedules(self, tenant: str | None) -> list[Schedule]:
        query = (sql.SCHEDULES,) if tenant is None else (sql.SCHEDULES_OF, tenant)
        return [Schedule(*row) for row in await self._look(*query)]

    async def schedule(self, tenant: str, name: str) -> Schedule | None:
        rows = await self._look(sql.SCHEDULE, tenant, name)
        return Schedule(*rows[0]) if rows else None

    async def of_schedule(self, tenant: str, name: str, limit: int) -> list[Task]:
        return await self._all(sql.OF_SCHEDULE, tenant, name, limit)

    # sessions

    async def session(self, tenant: str, agent: str, id: str, whole: bool = True) -> Session | None:
        rows = await self._look(sql.SESSION if whole else sql.STAMP, tenant, agent, id)
        return Session(*rows[0]) if rows else None

    async def idle(self, before: float, limit: int) -> list[SessionRef]:
        return [tuple(row) for row in await self._look(sql.IDLE, before, limit)]

    # retention

    async def sweep(self, after: Ref | None, before: float, limit: int) -> Sweep:
        rows = await self._look(sql.SWEEP, before, before, *(after or ("", "")), limit)
        over = tuple((tenant, id) for tenant, id, is_over in rows if is_over)
        return Sweep(over, tuple(rows[-1][:2]) if len(rows) == limit else None)

    async def referenced(self, tenant: str, sha256s: Sequence[str]) -> set[str]:
        return {found for (found,) in await self._look(_REFERENCED, tenant, list(sha256s))}

    # parts of reads

    async def _look(self, query: str, *values: Any) -> list[Any]:
        """Rows that the ledger goes by: of a moment after all that this store has in flight."""
        if self._opened:
            await self._writer.session()
        return await self._own.fetch(_numbered(query), *values)

    async def _all(self, query: str, *values: Any) -> list[Task]:
        return list(map(_task, await self._look(query, *values)))

    async def _tasks(self, query: str, *values: Any) -> list[Task]:
        return list(map(_task, await self._look(_page(query), *values)))

    async def _value(self, query: str, *values: Any) -> Any:
        rows = await self._look(query, *values)
        return rows[0][0] if rows else None

    async def _list(self, query: str, *values: Any) -> list[Task]:
        return list(map(_task, await self._lists.fetch(_numbered(_page(query)), *values)))


def _columns(refs: Iterable[Ref]) -> tuple[list[str], list[str]]:
    tenants, ids = zip(*refs, strict=True)
    return list(tenants), list(ids)


def _past(steps: list[Any], emitted: int, started: list[str], signals: list[Any]) -> Past:
    recorded = tuple(map(_step, steps))
    done = {row.name + row.key for row in recorded}
    return Past(recorded, emitted, tuple(step for step in started if step not in done), tuple(map(_signal, signals)))
