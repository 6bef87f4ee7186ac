"""The store in one SQLite file: WAL, every commit synced, one connection that writes."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO, cast

from . import queries as sql
from .apikeys import ApiKey
from .errors import Fenced, StoreProblem, Unavailable
from .filelock import lock
from .history import assemble, discarding, restarts
from .limits import Rule
from .pages import ALL, cut, fitting, heft, weight, within
from .schedule import Schedule
from .schema import migrate
from .sessions import Session, SessionRef
from .sqlite_writes import statements, write
from .store import (
    EventRow,
    KeyRow,
    Owner,
    Past,
    Progress,
    Queue,
    SignalRow,
    StepRow,
    StoreFailed,
    Sweep,
    Writes,
    check_resume,
    next_owner,
)
from .task import Event, Filter, Ref, Step, Task

log = logging.getLogger("rubato.store")

PRAGMAS = (
    "page_size=8192",  # of a new file; a tick of many tasks takes a fifth less time than with the usual 4096
    "journal_mode=wal",
    "synchronous=full",
    "busy_timeout=5000",
    "cache_size=-65536",
    "foreign_keys=0",
)
QUICK = 0.004  # seconds of a commit for which the loop may stand still ...
FEW = 16  # ... and rows of such a one
_READ_PAUSE = 0.5  # seconds between two tries to learn whether a commit has happened
_BUSY = 2.0  # seconds that a commit waits for another program that writes in the file ...
_BUSY_PAUSE = 0.01  # ... and that are between two looks whether it still does
_DIALECT = sql.Dialect(
    "indexed by task_batch",
    "exists (select 1 from json_each(task.tags) where value=?)",
    "id in (select j.value from idempotency k, json_each(k.task_ids) j where k.tenant=? and k.key=?)",
    "extra is not null and json_extract(extra, '$.session')=?",
)


class SqliteStore:
    """One file, one process: a lock beside the file keeps a second ledger out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner: Owner | None = None
        self._lock: TextIO | None = None
        self._commits = ThreadPoolExecutor(1, "commit")
        self._disk = QUICK  # seconds that a commit takes, of late at most
        self._listing = threading.Lock()
        self._connections: list[sqlite3.Connection] = []

    def take(self, *, create: bool, expect: str = "", wait: float = 10.0) -> Owner:
        """As OwnedStore has it."""
        if not create and not self._path.exists():
            raise StoreProblem(f"the store {self._path} is gone; restore it, or choose another state folder")
        self._acquire(wait)
        try:
            self._connect()
            migrate(self._db)
            with self._db:
                self._db.execute("begin immediate")
                owner = next_owner(self._read_owner(), expect)
                self._db.execute("delete from owner")
                self._db.execute("insert into owner values (?,?,?)", owner)
        finally:
            self._close()
        return owner

    async def open(self, store_id: str, generation: int) -> Owner:
        if not self._path.exists():
            raise StoreProblem(f"the store {self._path} is gone; restore it, or choose another state folder")
        self._acquire(10.0)
        try:
            self._connect()
            migrate(self._db)
            self._owner = check_resume(self._read_owner(), store_id, generation)
            self._db.execute("pragma busy_timeout=0")  # SQLite's own way to wait would hold up the loop
        except BaseException:
            self._close()
            raise
        return self._owner

    async def close(self) -> None:
        """Let go of the file and its lock; safe to call twice."""
        self._close()

    def _close(self) -> None:
        self._commits.shutdown()
        with self._listing:  # a connection that is closed under a query takes the process down
            for connection in self._connections:
                connection.close()
            self._connections = []
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def commit(self, writes: Writes) -> None:
        assert self._owner is not None, "commit before open"
        next_tick = self._owner.tick + 1
        await self._begin()
        try:
            if self._disk < QUICK and writes.rows <= FEW:
                self._transact(writes, next_tick)
            else:
                await asyncio.get_running_loop().run_in_executor(self._commits, self._transact, writes, next_tick)
        except sqlite3.Error as error:
            if await self._owner_after_all() != self._owner._replace(tick=next_tick):
                raise StoreFailed(str(error)) from error
        self._owner = self._owner._replace(tick=next_tick)

    def _transact(self, writes: Writes, next_tick: int) -> None:
        """Write it all and commit: on a thread of its own, unless that is over sooner than a thread could take it over.
        Raises sqlite3.Error where COMMIT failed, and nobody knows whether it has happened."""
        try:
            moved = self._db.execute(sql.TICK, (next_tick, *cast(Owner, self._owner)))
            if moved.rowcount != 1:
                raise Fenced(f"the store has another owner than {self._owner}")
            for statement, rows in statements(writes):
                if rows:
                    write(self._db, statement, rows)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self._rollback()
            raise StoreFailed(str(error)) from error
        except BaseException:
            self._rollback()
            raise
        self._disk = max(self._commit(), 0.9 * self._disk)

    def _commit(self) -> float:
        """Says how many seconds it took."""
        began = time.perf_counter()
        self._db.execute("commit")
        return time.perf_counter() - began

    async def _begin(self) -> None:
        """Raises Unavailable where another program goes on and on writing in the file: no move of the tick would fare
        better alone."""
        ends = time.monotonic() + _BUSY
        while True:
            try:
                self._db.execute("begin immediate")
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    raise StoreFailed(str(error)) from error
                if time.monotonic() > ends:
                    raise Unavailable(f"another program writes in the store ({error})") from error
                await asyncio.sleep(_BUSY_PAUSE)
            else:
                return

    async def _owner_after_all(self) -> Owner | None:
        """A COMMIT that failed may have happened. The tick in the file tells, and until it can be read nobody knows."""
        while True:
            try:
                self._rollback()
                return self._read_owner()
            except sqlite3.Error as error:
                log.warning("whether a commit has happened cannot be read yet: %s", error)
                await asyncio.sleep(_READ_PAUSE)

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("rollback")

    # reads, each of committed facts only

    async def task(self, tenant: str, id: str) -> Task | None:
        return self._task(tenant, id)

    async def many(self, refs: Sequence[Ref]) -> dict[Ref, Task]:
        found = (self._task(*ref) for ref in dict.fromkeys(refs))
        return {task.ref: task for task in found if task is not None}

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        return await self._page(*sql.listing(_DIALECT, tenant, filter, after, limit))

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        return await self._page(sql.IN_BATCH, [tenant, batch_id, after, limit])

    async def batch(self, tenant: str, batch_id: str) -> dict[str, int]:
        return dict(await self._list(sql.BATCH, [tenant, batch_id]))

    async def running(self) -> list[Task]:
        return self._all(sql.RUNNING)

    async def queues(self) -> list[Queue]:
        return [Queue(*row) for row in self._reads.execute(sql.QUEUES)]

    async def ready(self, queue: Queue, now: float, limit: int) -> list[Task]:
        return self._tasks(sql.READY, *queue, now, limit)

    async def due(self, queue: Queue, now: float) -> float | None:
        return self._value(sql.DUE, *queue, now)  # type: ignore[no-any-return]

    async def dues(self, now: float) -> list[tuple[Queue, float]]:
        return [(Queue(*queue), at) for *queue, at in await self._list(sql.DUES, [now])]

    async def ahead(self, task: Task, now: float, limit: int) -> int:
        return int(self._value(sql.AHEAD, *sql.ahead(task, now, limit)))

    async def wakes(self, now: float, limit: int) -> list[Task]:
        return self._tasks(sql.WAKES, now, limit)

    async def overdue(self, now: float, limit: int) -> list[Task]:
        return self._tasks(sql.OVERDUE, now, limit)

    async def alarms(self) -> tuple[float | None, float | None]:
        return self._value(sql.NEXT_WAKE), self._value(sql.NEXT_OVERDUE)

    async def counts(self) -> list[tuple[str, str, int]]:
        return self._reads.execute(sql.COUNTS).fetchall()

    async def lanes(self) -> list[tuple[str, str, str, int]]:
        return self._reads.execute(sql.LANES).fetchall()

    async def oldest(self, now: float) -> dict[str, float]:
        return dict(await self._list(sql.OLDEST, [now]))

    async def rules(self) -> list[Rule]:
        return [Rule(*row) for row in self._reads.execute(sql.RULES)]

    async def api_keys(self) -> list[ApiKey]:
        return [ApiKey(*row) for row in self._reads.execute(sql.API_KEYS)]

    async def progress(self, tenant: str, id: str, fence: int) -> Progress:
        last, report = self._reads.execute(sql.PROGRESS, (fence, tenant, id, tenant, id)).fetchone()
        return Progress(1 + last, report)

    async def pasts(self, refs: Sequence[Ref], room: int = ALL) -> dict[Ref, Past]:
        return within(((ref, self._past(*ref, room)) for ref in refs), room)

    async def steps(self, tenant: str, id: str, after: int = -1) -> list[Step]:
        return cut((Step(*row) for row in self._reads.execute(sql.JOURNAL, (tenant, id, after))), heft)

    async def events(self, tenant: str, id: str, after: int, limit: int) -> tuple[Task | None, list[Event]]:
        # One snapshot, so that a task seen as ended has all of its events.
        self._reads.execute("begin")
        try:
            task = self._task(tenant, id)
            if task is None:
                return None, []
            rows = self._reads.execute(sql.EVENTS, (*(tenant, id, after) * 2, limit))
            page = assemble(task, (EventRow(*row) for row in rows), after, limit)
            if (later := restarts(page)) is not None:
                page = discarding(page, self._reads.execute(sql.STALE, sql.stale(tenant, id, *later)))
            return task, page
        finally:
            self._reads.execute("commit")

    async def key(self, tenant: str, route: str, key: str) -> KeyRow | None:
        row = self._reads.execute(sql.KEY, (tenant, route, key)).fetchone()
        return KeyRow(*row) if row else None

    async def children(self, tenant: str, parent_id: str, limit: int) -> list[Task]:
        return self._tasks(sql.CHILDREN, tenant, parent_id, limit)

    async def untold(self, limit: int) -> list[Task]:
        return self._tasks(sql.UNTOLD, limit)

    async def orphans(self, limit: int) -> list[Task]:
        return await self._page(sql.ORPHANS, [limit])

    async def schedules(self, tenant: str | None) -> list[Schedule]:
        rows = self._reads.execute(*((sql.SCHEDULES,) if tenant is None else (sql.SCHEDULES_OF, (tenant,))))
        return [Schedule(*row) for row in rows]

    async def schedule(self, tenant: str, name: str) -> Schedule | None:
        row = self._reads.execute(sql.SCHEDULE, (tenant, name)).fetchone()
        return Schedule(*row) if row else None

    async def of_schedule(self, tenant: str, name: str, limit: int) -> list[Task]:
        return self._all(sql.OF_SCHEDULE, tenant, name, limit)

    async def session(self, tenant: str, agent: str, id: str, whole: bool = True) -> Session | None:
        row = self._reads.execute(sql.SESSION if whole else sql.STAMP, (tenant, agent, id)).fetchone()
        return Session(*row) if row else None

    async def idle(self, before: float, limit: int) -> list[SessionRef]:
        return self._reads.execute(sql.IDLE, (before, limit)).fetchall()

    async def sweep(self, after: Ref | None, before: float, limit: int) -> Sweep:
        rows = await self._list(sql.SWEEP, [before, before, *(after or ("", "")), limit])
        over = tuple((tenant, id) for tenant, id, is_over in rows if is_over)
        return Sweep(over, rows[-1][:2] if len(rows) == limit else None)

    async def referenced(self, tenant: str, sha256s: Sequence[str]) -> set[str]:
        query = "select 1 from reference where tenant=? and sha256=? limit 1"
        return {found for found in sha256s if self._reads.execute(query, (tenant, found)).fetchone()}

    # parts of reads

    def _task(self, tenant: str, id: str) -> Task | None:
        row = self._reads.execute(sql.ONE, (tenant, id)).fetchone()
        return Task(*row) if row else None

    def _all(self, query: str, *values: Any) -> list[Task]:
        return [Task(*row) for row in self._reads.execute(query, values)]

    def _tasks(self, query: str, *values: Any) -> list[Task]:
        return cut((Task(*row) for row in self._reads.execute(query, values)), weight)

    def _value(self, query: str, *values: Any) -> Any:
        return self._reads.execute(query, values).fetchone()[0]

    def _past(self, tenant: str, id: str, room: int) -> Past:
        ref = (tenant, id)
        steps = fitting((StepRow(*row) for row in self._reads.execute(sql.STEPS, ref)), room)
        room -= sum(map(heft, steps or ()))
        signals = fitting((SignalRow(*row) for row in self._reads.execute(sql.SIGNALS, ref)), room)
        if steps is None or signals is None:
            return Past(large=True)
        done = {row.name + row.key for row in steps}
        started = (step for (step,) in self._reads.execute(sql.STARTED, ref))
        return Past(
            tuple(steps),
            self._value(sql.EMITTED_COUNT, *ref),
            tuple(step for step in started if step not in done),
            tuple(signals),
        )

    async def _list(self, query: str, values: Sequence[Any], take: Callable[[Any], list[Any]] = list) -> list[Any]:
        """What is taken of a query that may scan: in a thread, on a connection of its own."""

        def fetch() -> list[Any]:
            with self._listing, closing(self._lists.execute(query, values)) as rows:
                return take(rows)

        return await asyncio.to_thread(fetch)

    async def _page(self, query: str, values: Sequence[Any]) -> list[Task]:
        return await self._list(query, values, lambda rows: cut((Task(*row) for row in rows), weight))

    def _read_owner(self) -> Owner | None:
        row = self._db.execute(sql.OWNER).fetchone()
        return Owner(*row) if row else None

    def _connect(self) -> None:
        self._connections = [_connection(self._path) for _ in range(3)]
        self._db, self._reads, self._lists = self._connections
        os.chmod(self._path, 0o600)

    def _acquire(self, wait: float) -> None:
        self._lock = lock(self._path, wait)


def _connection(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in PRAGMAS:
        db.execute(f"pragma {pragma}")
    return db
