"""What a tick writes, as statements for SQLite: each says no more than it must, for that is what a row costs.

Nearly all tasks are accepted fresh, claimed and ended, each in a tick of its own. Those moves have narrow statements,
which take two thirds of the time of those that write every column that may move. And a statement takes many rows: it
opens the table and all of its indices once for them, and other threads of this process run meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from . import queries as sql
from .store import Writes
from .task import Ref, State, Task

Rows = Sequence[Sequence[Any]]

MOST = 64  # rows of one statement


class Many(NamedTuple):
    """A statement for one row, and the parts of the one that does the same for several."""

    one: str
    head: str
    row: str
    tail: str = ""


def _insert(head: str, row: str) -> Many:
    return Many(f"{head} {row}", head, row)


def _update(columns: Sequence[str], fixed: str = "") -> Many:
    """Of rows with these columns, then the tenant and the id of a task; the `fixed` ones are the same in all."""
    where = "tenant=? and id=?"
    one = ",".join(f"{name}=?" for name in columns)
    many = ",".join(f"{name}=v.{name}" for name in columns)
    return Many(
        f"update task set {fixed}{one} where {where}",
        f"with v({','.join(columns)},tenant,id) as (values",
        f"({'?,' * len(columns)}?,?)",
        f") update task set {fixed}{many} from v where task.tenant=v.tenant and task.id=v.id",
    )


_INSERT = {table: _insert(*sql.insert(table)) for table in sql.ROWS}
_FRESH = tuple(Task._field_defaults[name] for name in sql.MOVING)  # how a task begins, nearly always
ACCEPT = _insert(
    f"insert into task ({sql.COLUMNS}) values",
    f"({'?,' * sql.FIXED}{','.join('null' if value is None else repr(value) for value in _FRESH)})",
)
CLAIM = _update(("worker", "fence", "attempts", "started_at"), f"state='{State.RUNNING.value}', waiting_on=null, ")
END = _update(
    ("state", "ended_at", "cancel_requested_at", "output", "error", "events"), "worker=null, waiting_on=null, "
)
MOVE = _update(sql.MOVING)


def write(db: sqlite3.Connection, statement: Many | str, rows: Rows) -> None:
    """Every row. Those of one statement are as many as a power of two, so that SQLite keeps few of them ready."""
    if isinstance(statement, str):
        db.executemany(statement, rows)
        return
    if len(rows) == 1:
        db.execute(statement.one, rows[0])
        return
    at = 0
    while left := len(rows) - at:
        size = min(MOST, 1 << left.bit_length() - 1)
        db.execute(_text(statement, size), [*chain.from_iterable(rows[at : at + size])])
        at += size


@cache
def _text(statement: Many, rows: int) -> str:
    return statement.one if rows == 1 else f"{statement.head} {','.join([statement.row] * rows)}{statement.tail}"


def statements(writes: Writes) -> Iterator[tuple[Many | str, Rows]]:
    """Each statement with its rows, which may be none."""
    yield from _tasks(writes)
    yield _INSERT["step"], writes.steps
    yield _INSERT["event"], writes.events
    yield sql.TALLY, [(*key, change) for key, change in writes.counts.items() if change]
    if writes.lanes:
        yield sql.LANE_TALLY, [(*key, change) for key, change in writes.lanes.items() if change]
    if writes.has_more:
        yield from _more(writes)


def _more(writes: Writes) -> Iterator[tuple[Many | str, Rows]]:
    yield _INSERT["idempotency"], list(writes.keys.values())
    yield _INSERT["signal"], writes.signals
    yield sql.TAKE_SIGNAL, writes.taken
    yield sql.REFERENCE, list(writes.references)
    yield sql.UPSERT_RULE, list(writes.rules.values())
    yield sql.UPSERT_SCHEDULE, [found for found in writes.schedules.values() if found is not None]
    yield sql.DELETE_SCHEDULE, [key for key, found in writes.schedules.items() if found is None]
    yield sql.UPSERT_API_KEY, [key for key in writes.api_keys.values() if key is not None]
    yield sql.DELETE_API_KEY, [ref for ref, key in writes.api_keys.items() if key is None]
    yield sql.UPSERT_SESSION, [session for session in writes.sessions.values() if session is not None]
    yield sql.DELETE_SESSION, [ref for ref, session in writes.sessions.items() if session is None]
    for statement in sql.FORGET if writes.gone else ():
        yield statement, writes.gone


def accept_row(task: Task) -> tuple[Any, ...]:
    return task[: sql.FIXED]


def claim_row(task: Task) -> tuple[Any, ...]:
    return (task.worker, task.fence, task.attempts, task.started_at, task.tenant, task.id)


def end_row(task: Task) -> tuple[Any, ...]:
    result = (task.cancel_requested_at, task.output, task.error)
    return (task.state, task.ended_at, *result, task.events, task.tenant, task.id)


def _tasks(writes: Writes) -> Iterator[tuple[Many, Rows]]:
    if writes.new:
        fresh = [task for task in writes.new.values() if task[sql.FIXED :] == _FRESH]
        yield ACCEPT, list(map(accept_row, fresh))
        if len(fresh) < len(writes.new):
            yield _INSERT["task"], [task for task in writes.new.values() if task[sql.FIXED :] != _FRESH]
    if not writes.moved:
        return
    claimed, ended = _only(writes, writes.claimed), _only(writes, writes.ended)
    yield CLAIM, list(map(claim_row, claimed))
    yield END, list(map(end_row, ended))
    if len(claimed) + len(ended) < len(writes.moved):
        yield MOVE, _wide(writes.moved.values(), {task.ref for tasks in (claimed, ended) for task in tasks})


def _only(writes: Writes, tasks: Iterable[Task]) -> list[Task]:
    """Those of the tasks that are on record, and to which nothing else has happened in this tick."""
    moved, twice = writes.moved, writes.twice
    return [task for task in tasks if moved.get(task.ref) is task and task.ref not in twice]


def _wide(tasks: Iterable[Task], but: Collection[Ref]) -> Rows:
    return [(*task[sql.FIXED :], task.tenant, task.id) for task in tasks if task.ref not in but]
