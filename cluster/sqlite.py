"""The store in one SQLite file: WAL, every commit synced, one connection that writes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from agents.ids import new_id

from .errors import Fenced, StoreProblem
from .history import EMITTED, assemble
from .schema import MIGRATIONS, VERSION
from .store import EventRow, KeyRow, Owner, Progress, StepRow, StoreFailed, Writes, check_resume
from .task import Event, Filter, Step, Task

_MOVING = Task._fields[Task._fields.index("state") :]
_FIXED = len(Task._fields) - len(_MOVING)
_TASK = f"insert into task ({','.join(Task._fields)}) values ({','.join('?' * len(Task._fields))})"
_MOVE = f"update task set {','.join(f'{name}=?' for name in _MOVING)} where tenant=? and id=?"
_SELECT = f"select {','.join(Task._fields)} from task"
_STEP = f"insert into step values ({','.join('?' * len(StepRow._fields))})"
_EVENT = f"insert into event values ({','.join('?' * len(EventRow._fields))})"
_KEY = f"insert into idempotency values ({','.join('?' * len(KeyRow._fields))})"
_PAGE = 1000  # rows written before the loop gets a turn


class SqliteStore:
    """One file, one process: a lock beside the file keeps a second ledger out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner: Owner | None = None
        self._lock: TextIO | None = None
        self._commits = ThreadPoolExecutor(1, "commit")
        self._listing = threading.Lock()
        self._connections: list[sqlite3.Connection] = []

    def take(self, *, create: bool, wait: float = 10.0) -> Owner:
        """Become its next owner: a new generation, at tick 0; then closed, for a ledger to open.

        Only `create` makes a store that is not there.
        """
        if not create and not self._path.exists():
            raise StoreProblem(f"the store {self._path} is gone; restore it, or choose another state folder")
        self._acquire(wait)
        try:
            self._connect()
            _migrate(self._db)
            with self._db:
                self._db.execute("begin immediate")
                old = self._read_owner()
                owner = Owner(old.store_id, old.generation + 1, 0) if old else Owner(new_id(), 1, 0)
                self._db.execute("delete from owner")
                self._db.execute("insert into owner values (?,?,?)", owner)
        finally:
            self.close()
        return owner

    def open(self, store_id: str, generation: int) -> Owner:
        if not self._path.exists():
            raise StoreProblem(f"the store {self._path} is gone; restore it, or choose another state folder")
        self._acquire(10.0)
        try:
            self._connect()
            _migrate(self._db)
            self._owner = check_resume(self._read_owner(), store_id, generation)
        except BaseException:
            self.close()
            raise
        return self._owner

    def close(self) -> None:
        """Let go of the file and its lock; safe to call twice."""
        self._commits.shutdown()
        for connection in self._connections:
            connection.close()
        self._connections = []
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def commit(self, writes: Writes) -> None:
        # Rows go in on the loop's own thread: sqlite3 lets go of the GIL at every row, and a second thread would pay
        # for each of them to get it back. Only the wait for the disk is taken off the loop.
        assert self._owner is not None, "commit before open"
        next_tick = self._owner.tick + 1
        try:
            self._db.execute("begin immediate")
            moved = self._db.execute(
                "update owner set tick=? where store_id=? and generation=? and tick=?", (next_tick, *self._owner)
            )
            if moved.rowcount != 1:
                raise Fenced(f"the store has another owner than {self._owner}")
            await self._write(writes)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self._rollback()
            raise StoreFailed(str(error)) from error
        except BaseException:
            self._rollback()
            raise
        try:
            await asyncio.get_running_loop().run_in_executor(self._commits, self._db.execute, "commit")
        except sqlite3.Error as error:
            self._rollback()
            # A COMMIT that failed may have happened; the tick in the file tells.
            found = self._read_owner()
            if found is None or found.tick != next_tick:
                raise StoreFailed(str(error)) from error
        self._owner = self._owner._replace(tick=next_tick)

    async def _write(self, writes: Writes) -> None:
        await self._many(_TASK, list(writes.new.values()))
        await self._many(_MOVE, [(*task[_FIXED:], task.tenant, task.id) for task in writes.moved.values()])
        await self._many(_STEP, writes.steps)
        await self._many(_EVENT, writes.events)
        await self._many(_KEY, writes.keys)

    async def _many(self, statement: str, rows: list[Any]) -> None:
        for start in range(0, len(rows), _PAGE):
            if start:
                await asyncio.sleep(0)
            self._db.executemany(statement, rows[start : start + _PAGE])

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("rollback")

    # reads, each of committed facts only

    def task(self, tenant: str, id: str) -> Task | None:
        row = self._reads.execute(f"{_SELECT} where tenant=? and id=?", (tenant, id)).fetchone()
        return Task(*row) if row else None

    def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        where, values = ["tenant=?"], [tenant]
        for column in ("agent", "state", "batch_id"):
            value = getattr(filter, column)
            if column == "state" and value in ("failed", "canceled"):
                where.append(f"state='{value}'")  # spelt out, the planner sees that task_trouble has them all
            elif value is not None:
                where.append(f"{column}=?")
                values.append(value)
        if filter.tag is not None:
            where.append("exists (select 1 from json_each(task.tags) where value=?)")
            values.append(filter.tag)
        if filter.idempotency_key is not None:
            where.append(
                "id in (select j.value from idempotency k, json_each(k.task_ids) j where k.tenant=? and k.key=?)"
            )
            values += [tenant, filter.idempotency_key]
        if after is not None:
            where.append("id<?")
            values.append(after)
        # Without the hint the planner walks the whole table for the sake of the order.
        hint = "indexed by task_batch" if filter.batch_id is not None else ""
        query = f"{_SELECT} {hint} where {' and '.join(where)} order by id desc limit {int(limit)}"
        with self._listing:  # a list may scan: it runs in a thread of the caller's, on a connection of its own
            return [Task(*row) for row in self._lists.execute(query, values)]

    def running(self) -> list[Task]:
        return self._tasks("where state='running'")

    def ready(self, agent: str, now: float, limit: int) -> list[Task]:
        return self._tasks(
            f"where state='queued' and agent=? and run_at<=? order by priority desc, id limit {int(limit)}",
            [agent, now],
        )

    def due(self, now: float) -> list[tuple[str, float]]:
        agents = [row[0] for row in self._reads.execute("select distinct agent from task where state='queued'")]
        query = "select coalesce(min(run_at), 0) from task where state='queued' and agent=? and run_at>?"
        return [(agent, self._reads.execute(query, (agent, now)).fetchone()[0]) for agent in agents]

    def counts(self) -> list[tuple[str, str, int]]:
        return self._reads.execute("select agent, state, count(*) from task group by agent, state").fetchall()

    def progress(self, tenant: str, id: str, fence: int) -> Progress:
        rows = self._reads.execute(
            "select seq, fence, report from step where tenant=? and task=?"
            " union all select seq, fence, report from event where tenant=? and task=?",
            (tenant, id, tenant, id),
        ).fetchall()
        events = 1 + max((seq for seq, _, _ in rows), default=0)
        return Progress(events, max((report for _, by, report in rows if by == fence), default=0))

    def steps(self, tenant: str, id: str) -> list[Step]:
        return [
            Step(row.name, row.key, row.digest, row.value, row.seq, row.attempt, row.at)
            for row in self._step_rows(tenant, id)
        ]

    def events(self, tenant: str, id: str, after: int, limit: int) -> list[Event]:
        # One snapshot, so that a task seen as ended has all of its events.
        self._reads.execute("begin")
        try:
            task = self.task(tenant, id)
            if task is None:
                return []
            rows = self._reads.execute("select * from event where tenant=? and task=? order by seq", (tenant, id))
            events = [EventRow(*row) for row in rows]
            return assemble(task, self._step_rows(tenant, id), events, after)[:limit]
        finally:
            self._reads.execute("commit")

    def emitted(self, tenant: str, id: str) -> int:
        query = f"select count(*) from event where tenant=? and task=? and step='' and type in {EMITTED}"
        count: int = self._reads.execute(query, (tenant, id)).fetchone()[0]
        return count

    def key(self, tenant: str, route: str, key: str) -> KeyRow | None:
        query = "select * from idempotency where tenant=? and route=? and key=?"
        row = self._reads.execute(query, (tenant, route, key)).fetchone()
        return KeyRow(*row) if row else None

    def _tasks(self, rest: str, values: Iterable[Any] = ()) -> list[Task]:
        return [Task(*row) for row in self._reads.execute(f"{_SELECT} {rest}", tuple(values))]

    def _step_rows(self, tenant: str, id: str) -> list[StepRow]:
        rows = self._reads.execute("select * from step where tenant=? and task=? order by seq", (tenant, id))
        return [StepRow(*row) for row in rows]

    def _read_owner(self) -> Owner | None:
        row = self._db.execute("select store_id, generation, tick from owner").fetchone()
        return Owner(*row) if row else None

    def _connect(self) -> None:
        self._connections = [_connection(self._path) for _ in range(3)]
        self._db, self._reads, self._lists = self._connections
        os.chmod(self._path, 0o600)

    def _acquire(self, wait: float) -> None:
        """Hold the lock file, which the system lets go of when this process ends, however it ends."""
        ends = time.monotonic() + wait
        lock = open(f"{self._path}.lock", "a+")  # noqa: SIM115 - held until close()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > ends:
                    lock.close()
                    raise StoreProblem(f"another ledger has {self._path} open; `./rubato down` ends it") from None
                time.sleep(0.05)
        self._lock = lock


def _connection(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in ("journal_mode=wal", "synchronous=full", "busy_timeout=5000", "cache_size=-65536", "foreign_keys=0"):
        db.execute(f"pragma {pragma}")
    return db


def _migrate(db: sqlite3.Connection) -> None:
    """Bring an older schema forward, one version in one transaction; refuse a newer one."""
    version = db.execute("pragma user_version").fetchone()[0]
    if version > VERSION:
        raise StoreProblem(
            f"this store was written by a newer Rubato (schema {version}, this one knows {VERSION}); run that version"
        )
    for number in range(version, VERSION):
        db.execute("begin immediate")
        for statement in MIGRATIONS[number]:
            db.execute(statement)
        db.execute(f"pragma user_version={number + 1}")
        db.execute("commit")


def tags_json(tags: Iterable[str]) -> str:
    """Tags as they are stored."""
    return json.dumps(list(tags))
