"""What a tick writes, as statements for SQLite: each says no more than it must, for that is what a row costs.

Nearly all tasks are accepted fresh, claimed and ended, each in a tick of its own. Those moves have narrow statements,
which take two thirds of the time of those that write every column that may move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from . import queries as sql
from .store import Writes
from .task import Ref, State, Task

Rows = Sequence[Sequence[Any]]

_INSERT = {table: sql.insert(table) for table in sql.ROWS}
_FRESH = tuple(Task._field_defaults[name] for name in sql.MOVING)  # how a task begins, nearly always
ACCEPT = (
    f"insert into task ({sql.COLUMNS}) values ({'?,' * sql.FIXED}"
    f"{','.join('null' if value is None else repr(value) for value in _FRESH)})"
)
CLAIM = (
    f"update task set state='{State.RUNNING.value}', waiting_on=null, worker=?, fence=?, attempts=?, started_at=?"
    " where tenant=? and id=?"
)
END = (
    "update task set worker=null, waiting_on=null, state=?, ended_at=?, cancel_requested_at=?, output=?, error=?,"
    " events=? where tenant=? and id=?"
)


def statements(writes: Writes) -> Iterator[tuple[str, Rows]]:
    """Each statement with its rows, which may be none."""
    yield from _tasks(writes)
    yield _INSERT["step"], writes.steps
    yield _INSERT["event"], writes.events
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
    yield sql.TALLY, [(*key, change) for key, change in writes.counts.items() if change]
    yield sql.LANE_TALLY, [(*key, change) for key, change in writes.lanes.items() if change]


def accept_row(task: Task) -> tuple[Any, ...]:
    return task[: sql.FIXED]


def claim_row(task: Task) -> tuple[Any, ...]:
    return (task.worker, task.fence, task.attempts, task.started_at, task.tenant, task.id)


def end_row(task: Task) -> tuple[Any, ...]:
    result = (task.cancel_requested_at, task.output, task.error)
    return (task.state, task.ended_at, *result, task.events, task.tenant, task.id)


def _tasks(writes: Writes) -> Iterator[tuple[str, Rows]]:
    fresh = [task for task in writes.new.values() if task[sql.FIXED :] == _FRESH]
    yield ACCEPT, list(map(accept_row, fresh))
    if len(fresh) < len(writes.new):
        yield _INSERT["task"], [task for task in writes.new.values() if task[sql.FIXED :] != _FRESH]
    claimed, ended = _only(writes, writes.claimed), _only(writes, writes.ended)
    yield CLAIM, list(map(claim_row, claimed))
    yield END, list(map(end_row, ended))
    if len(claimed) + len(ended) < len(writes.moved):
        yield sql.MOVE, _wide(writes.moved.values(), {task.ref for tasks in (claimed, ended) for task in tasks})


def _only(writes: Writes, tasks: Iterable[Task]) -> list[Task]:
    """Those of the tasks that are on record, and to which nothing else has happened in this tick."""
    moved, twice = writes.moved, writes.twice
    return [task for task in tasks if moved.get(task.ref) is task and task.ref not in twice]


def _wide(tasks: Iterable[Task], but: Collection[Ref]) -> Rows:
    return [(*task[sql.FIXED :], task.tenant, task.id) for task in tasks if task.ref not in but]
