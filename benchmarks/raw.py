"""SQLite alone: the rows that the ledger wrote, written again by a bare loop in commits of the ledger's size.

What it does more per second than the ledger is what HTTP, Ray, the workers and the ledger's own Python take.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from cluster.sqlite import PRAGMAS
from cluster.sqlite_writes import ACCEPT, CLAIM, END, accept_row, claim_row, end_row, write
from cluster.task import Task

WORKER = "0" * 36  # as long as the id of one


Rows = list[tuple[Any, ...]]
Tick = tuple[Rows, Rows, Rows]


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
        for pragma in PRAGMAS:
            db.execute(f"pragma {pragma}")
        for statement in written.schema:
            db.execute(statement)
        ticks = _ticks(written.tasks, size)
        began = time.perf_counter()
        for tick in ticks:
            _commit(db, tick)
        seconds = time.perf_counter() - began
    finally:
        db.close()
    tasks = len(written.tasks)
    return {
        "tasks": tasks,
        "tasks_per_commit": size,
        "commits": len(ticks),
        "tasks_per_s": round(tasks / seconds),
        "seconds": round(seconds, 3),
    }


def _ticks(tasks: tuple[Task, ...], size: int) -> list[Tick]:
    """What goes into one commit after the other: three moves for each task, each later than the one before."""
    groups = [tasks[at : at + size] for at in range(0, len(tasks), size)]
    nothing: tuple[Task, ...] = ()
    moves = zip([*groups, nothing, nothing], [nothing, *groups, nothing], [nothing, nothing, *groups], strict=True)
    return [
        (
            list(map(accept_row, new)),
            [claim_row(task._replace(worker=WORKER)) for task in claimed],
            list(map(end_row, ended)),
        )
        for new, claimed, ended in moves
    ]


def _commit(db: sqlite3.Connection, tick: Tick) -> None:
    db.execute("begin immediate")
    for statement, rows in zip((ACCEPT, CLAIM, END), tick, strict=True):
        write(db, statement, rows)
    db.execute("commit")
