"""A commit as PostgreSQL gets it: one statement for a whole tick, in one round trip, or pages of a large one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from .apikeys import ApiKey
from .limits import Rule
from .queries import FIXED, MOVING
from .schedule import Schedule
from .sessions import Session
from .store import EventRow, KeyRow, SignalRow, StepRow, Writes
from .task import Ref, Task

PAGE_ROWS = 1000  # in one statement: the loop stands still while they are packed
PAGE_BYTES = 4 * 2**20  # ... and about so much of what users sent

Rows = Sequence[tuple[Any, ...]]


class Part(NamedTuple):
    """One kind of rows: what becomes of them (`rows` stands for the values), and where they are long."""

    name: str
    statements: tuple[str, ...]
    long: int | None = None  # the column that may be long


class Load(NamedTuple):
    """Rows of a part to be written."""

    part: Part
    rows: Rows


def _insert(table: str, row: str, fields: Sequence[str], rest: str = "") -> tuple[str]:
    columns = ",".join(fields)
    return (f"insert into {table} ({columns}) select {columns} from unnest(rows::{row}[]) {rest}",)


def _upsert(table: str, row: str, fields: Sequence[str], keys: int = 2) -> tuple[str]:
    key, rest = ",".join(fields[:keys]), ",".join(f"{name}=excluded.{name}" for name in fields[keys:])
    return _insert(table, row, fields, f"on conflict ({key}) do update set {rest}")


def _delete(table: str, column: str) -> str:
    return f"delete from {table} x using unnest(rows::ref_row[]) r where x.tenant=r.tenant and x.{column}=r.id"


# The parts of a statement see one snapshot, in no order: no two of them may touch the same row.
NEW = Part("new", _insert("task", "task_row", Task._fields), Task._fields.index("input"))
MOVED = Part(
    "moved",
    (
        f"update task x set {','.join(f'{name}=r.{name}' for name in MOVING)} from unnest(rows::moved_row[]) r"
        " where x.tenant=r.tenant and x.id=r.id",
    ),
    2 + MOVING.index("output"),
)
STEPS = Part("steps", _insert("step", "step_row", StepRow._fields), StepRow._fields.index("value"))
EVENTS = Part("events", _insert("event", "event_row", EventRow._fields), EventRow._fields.index("data"))
TALLY = Part(
    "tally",
    _insert(
        "tally",
        "tally_row",
        ("agent", "state", "number"),
        "on conflict (agent, state) do update set number=tally.number+excluded.number",
    ),
)
LANES = Part(
    "lanes",
    _insert(
        "lane",
        "lane_row",
        ("agent", "lane", "state", "number"),
        "on conflict (agent, lane, state) do update set number=lane.number+excluded.number",
    ),
)
KEYS = Part("keys", _insert("idempotency", "key_row", KeyRow._fields))
SIGNALS = Part("signals", _insert("signal", "signal_row", SignalRow._fields), SignalRow._fields.index("payload"))
TAKEN = Part(
    "taken",
    (
        "update signal x set taken=1 from unnest(rows::taken_row[]) r"
        " where x.tenant=r.tenant and x.task=r.task and x.number=r.number",
    ),
)
REFERENCES = Part(
    "references", _insert("reference", "reference_row", ("tenant", "sha256", "task"), "on conflict do nothing")
)
RULES = Part("rules", _upsert("limit_rule", "rule_row", Rule._fields))
SCHEDULES = Part("schedules", _upsert("schedule", "schedule_row", Schedule._fields), Schedule._fields.index("input"))
UNSCHEDULED = Part(
    "unscheduled",
    ("delete from schedule x using unnest(rows::name_row[]) r where x.tenant=r.tenant and x.name=r.name",),
)
API_KEYS = Part("api_keys", _upsert("api_key", "api_key_row", ApiKey._fields))
UNLISTED = Part("unlisted", (_delete("api_key", "id"),))
SESSIONS = Part("sessions", _upsert("session", "session_row", Session._fields, 3), Session._fields.index("value"))
FORGOTTEN = Part(
    "forgotten",
    (
        "delete from session x using unnest(rows::session_ref[]) r"
        " where x.tenant=r.tenant and x.agent=r.agent and x.id=r.id",
    ),
)
GONE = Part(
    "gone",
    (
        *(_delete(table, "task") for table in ("step", "event", "signal", "reference")),
        _delete("idempotency", "first"),
        _delete("task", "id"),
    ),
)
_OFTEN = (NEW, MOVED, STEPS, EVENTS, TALLY)
_RARE = (
    *(KEYS, SIGNALS, TAKEN, REFERENCES, RULES, SCHEDULES, UNSCHEDULED, API_KEYS, UNLISTED, SESSIONS, FORGOTTEN, LANES),
    GONE,
)
_OWNER = "update owner set tick=tick+1 where store_id=$1 and generation=$2 and tick=$3 and session=$4 returning 1"


@cache
def statement(parts: tuple[Part, ...]) -> str:
    """Moves the owner that $1 to $4 name by a tick, and writes the rows of these parts, which are $5 and so on.

    Nobody who is not the owner gets past the division by zero.
    """
    clauses = "".join(f", {clause}" for clause in _clauses(parts, 5))
    return f"with holder as ({_OWNER}){clauses} select 1/(select count(*) from holder)"


@cache
def page_statement(part: Part) -> str:
    """Writes the rows of one part, which are $1."""
    return f"with {', '.join(_clauses((part,), 1))} select 1"


def _clauses(parts: tuple[Part, ...], first: int) -> list[str]:
    return [
        f"{part.name}{number} as ({sql.replace('rows::', f'${place}::')})"
        for place, part in enumerate(parts, first)
        for number, sql in enumerate(part.statements)
    ]


def loads(writes: Writes) -> list[Load]:
    """What a tick has to write, in one order."""
    if writes.gone:
        writes = _without(writes, set(writes.gone))
    often: list[Rows] = [
        list(writes.new.values()),
        [task[:2] + task[FIXED:] for task in writes.moved.values()],
        writes.steps,
        writes.events,
        [(*key, change) for key, change in writes.counts.items() if change],
    ]
    found = [Load(part, rows) for part, rows in zip(_OFTEN, often, strict=True) if rows]
    rare = _rare(writes)
    if any(rare):  # all of them at once, so that there are but few statements to be prepared
        found += map(Load, _RARE, rare)
    return found


def _rare(writes: Writes) -> list[Rows]:
    taken = set(writes.taken)
    fresh = {row[:3] for row in writes.signals} if taken else set()
    return [
        list(writes.keys.values()),
        [row._replace(taken=1) if row[:3] in taken else row for row in writes.signals],
        list(taken - fresh),
        list(writes.references),
        list(writes.rules.values()),
        [found for found in writes.schedules.values() if found is not None],
        [key for key, found in writes.schedules.items() if found is None],
        [key for key in writes.api_keys.values() if key is not None],
        [ref for ref, key in writes.api_keys.items() if key is None],
        [session for session in writes.sessions.values() if session is not None],
        [ref for ref, session in writes.sessions.items() if session is None],
        [(*key, change) for key, change in writes.lanes.items() if change],
        writes.gone,
    ]


def _without(writes: Writes, gone: set[Ref]) -> Writes:
    """The writes but for what would be deleted at once."""
    return replace(
        writes,
        new={ref: task for ref, task in writes.new.items() if ref not in gone},
        moved={ref: task for ref, task in writes.moved.items() if ref not in gone},
        steps=[row for row in writes.steps if row[:2] not in gone],
        events=[row for row in writes.events if row[:2] not in gone],
        signals=[row for row in writes.signals if row[:2] not in gone],
        taken=[row for row in writes.taken if row[:2] not in gone],
        references={row for row in writes.references if (row.tenant, row.task) not in gone},
        keys={key: row for key, row in writes.keys.items() if (row.tenant, row.first) not in gone},
    )


def fits(found: Sequence[Load]) -> bool:
    """Whether all of it goes into one statement."""
    return sum(len(load.rows) for load in found) <= PAGE_ROWS and sum(map(_bytes, found)) <= PAGE_BYTES


def pages(load: Load) -> Iterator[Load]:
    """The rows of a part, as many at a time as one statement should have."""
    start = size = 0
    for place, row in enumerate(load.rows):
        size += _length(row, load.part.long)
        if place - start >= PAGE_ROWS or (size > PAGE_BYTES and place > start):
            yield Load(load.part, load.rows[start:place])
            start, size = place, _length(row, load.part.long)
    yield Load(load.part, load.rows[start:])


def _bytes(load: Load) -> int:
    long = load.part.long
    return 0 if long is None else sum(_length(row, long) for row in load.rows)


def _length(row: tuple[Any, ...], long: int | None) -> int:
    return 0 if long is None else len(row[long] or "")
