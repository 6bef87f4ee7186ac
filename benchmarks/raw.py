"""SQLite alone: the rows that the ledger wrote, written again by a bare loop in commits of the ledger's size.

What it does more per second than the ledger is what HTTP, Ray, the workers and the ledger's own Python take.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from cluster.task import State, Task

MOVING = Task._fields[Task._fields.index("state") :]
INSERT = f"insert into task ({','.join(Task._fields)}) values ({','.join('?' * len(Task._fields))})"
MOVE = f"update task set {','.join(f'{name}=?' for name in MOVING)} where tenant=? and id=?"
WORKER = "0" * 36  # as long as the id of one


class Written(NamedTuple):
    """What the ledger made of its file: tables, indices, and so many completed tasks."""

    schema: tuple[str, ...]
    tasks: tuple[Task, ...]


def read(store: Path, agent: str, tasks: int) -> Written:
    """Look into the file of a ledger, which may be at work. Raises RuntimeError where it has fewer such tasks."""
    db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        ours = "select sql from sqlite_master where sql is not null and name not like 'sqlite%'"
        schema = tuple(row[0] for row in db.execute(ours))
        query = f"select {','.join(Task._fields)} from task where agent=? and state='completed' order by id limit ?"
        found = tuple(Task(*row) for row in db.execute(query, (agent, tasks)))
    finally:
        db.close()
    if len(found) < tasks:
        raise RuntimeError(f"{store} has only {len(found)} completed tasks of {agent}")
    return Written(schema, found)


def measure(folder: Path, written: Written, tasks_per_commit: float) -> dict[str, Any]:
    """Tasks/s with so many of them accepted, as many others claimed, and as many others completed in each commit."""
    size = max(1, round(tasks_per_commit))
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    try:
        for pragma in ("journal_mode=wal", "synchronous=full", "cache_size=-65536"):
            db.execute(f"pragma {pragma}")
        for statement in written.schema:
            db.execute(statement)
        began = time.perf_counter()
        commits = _write(db, [written.tasks[at : at + size] for at in range(0, len(written.tasks), size)])
        seconds = time.perf_counter() - began
    finally:
        db.close()
    tasks = len(written.tasks)
    return {
        "tasks": tasks,
        "tasks_per_commit": size,
        "commits": commits,
        "tasks_per_s": round(tasks / seconds),
        "seconds": round(seconds, 3),
    }


def _write(db: sqlite3.Connection, groups: list[tuple[Task, ...]]) -> int:
    """Three moves for each group, one commit after the other; says how many commits that took."""
    nothing: tuple[Task, ...] = ()
    moves = zip([*groups, nothing, nothing], [nothing, *groups, nothing], [nothing, nothing, *groups], strict=True)
    for new, claimed, completed in moves:
        db.execute("begin immediate")
        db.executemany(INSERT, map(_queued, new))
        db.executemany(MOVE, [_move(_running(task)) for task in claimed])
        db.executemany(MOVE, [_move(task) for task in completed])
        db.execute("commit")
    return len(groups) + 2


def _queued(task: Task) -> Task:
    return task._replace(**{name: Task._field_defaults[name] for name in MOVING})


def _running(task: Task) -> Task:
    return task._replace(state=State.RUNNING.value, worker=WORKER, ended_at=None, output=None, events=0)


def _move(task: Task) -> tuple[Any, ...]:
    return (*task[-len(MOVING) :], task.tenant, task.id)
