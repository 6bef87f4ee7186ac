"""The tables of the PostgreSQL store, and how an older database becomes a newer one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .apikeys import ApiKey
from .errors import StoreProblem
from .limits import Rule
from .queries import MOVING
from .schedule import Schedule
from .sessions import Session
from .store import EventRow, KeyRow, Reference, SignalRow, StepRow
from .task import Task

# Texts compare byte by byte, as ids of one moment follow each other and as SQLite has it. JSON is kept as text: jsonb
# refuses some of it, and costs a multiple. Rows of `task` change a few times, and then for ever stay: room in their
# pages keeps a task's versions together, which makes a quarter less to write.
_FIRST = (
    "create table rubato (version integer not null)",
    """create table owner (
        store_id text not null, generation integer not null, tick bigint not null, session text not null)""",
    """create table task (
        tenant text collate "C" not null, id text collate "C" not null, agent text collate "C" not null,
        version text not null, input text not null, priority integer not null, tags text not null,
        batch_id text collate "C", max_attempts integer not null, timeout double precision not null,
        created_at double precision not null, limit_key text collate "C" not null, deadline double precision,
        parent_id text collate "C", schedule text collate "C", extra text, state text collate "C" not null,
        attempts integer not null, base integer not null, fence integer not null, worker text,
        isolated integer not null, rank integer not null, run_at double precision not null,
        ran double precision not null, started_at double precision, ended_at double precision,
        cancel_requested_at double precision, waiting_on text, children integer not null, signals integer not null,
        told integer not null, output text, error text, events integer not null,
        primary key (tenant, id))
        with (fillfactor=60, autovacuum_vacuum_scale_factor=0.05, autovacuum_analyze_scale_factor=0.05)""",
    # created_at comes last so that `oldest` is answered by the index alone
    "create index task_queued on task (agent, tenant, limit_key, priority desc, rank, id, run_at, created_at)"
    " where state='queued'",
    "create index task_delayed on task (agent, tenant, limit_key, run_at) where state='queued' and run_at>0",
    "create index task_running on task (id) where state='running'",
    "create index task_waiting on task (run_at) where state='waiting' and run_at>0",
    "create index task_deadline on task (deadline) where deadline is not null and state in ('queued','waiting')",
    "create index task_trouble on task (tenant, state, id) where state in ('failed', 'canceled')",
    "create index task_batch on task (tenant, batch_id, id) where batch_id is not null",
    "create index task_parent on task (tenant, parent_id, state) where parent_id is not null",
    "create index task_parents on task (tenant, id) where children>0",
    "create index task_untold on task (tenant, id)"
    " where parent_id is not null and told=0 and state in ('completed','failed','canceled')",
    "create index task_schedule on task (tenant, schedule)"
    " where schedule is not null and state in ('queued','running','waiting')",
    """create table step (
        tenant text collate "C" not null, task text collate "C" not null, name text collate "C" not null,
        key text collate "C" not null, digest text not null, value text not null, seq integer not null,
        attempt integer not null, at double precision not null, fence integer not null, report integer not null,
        primary key (tenant, task, name, key))""",
    """create table event (
        tenant text collate "C" not null, task text collate "C" not null, seq integer not null, type text not null,
        at double precision not null, attempt integer not null, step text not null, data text not null,
        fence integer not null, report integer not null,
        primary key (tenant, task, seq))""",
    """create table signal (
        tenant text collate "C" not null, task text collate "C" not null, number integer not null,
        name text not null, payload text not null, at double precision not null, taken integer not null,
        primary key (tenant, task, number))""",
    """create table idempotency (
        tenant text collate "C" not null, route text collate "C" not null, key text collate "C" not null,
        digest text not null, batch_id text, task_ids text not null, first text collate "C" not null,
        primary key (tenant, key, route))""",
    "create index idempotency_first on idempotency (tenant, first)",
    """create table limit_rule (
        tenant text collate "C" not null, key text collate "C" not null, concurrency integer, rate_count integer,
        rate_seconds double precision, weight double precision not null, paused_until double precision,
        arrival double precision not null,
        primary key (tenant, key))""",
    """create table schedule (
        tenant text collate "C" not null, name text collate "C" not null, agent text not null, input text not null,
        cron text not null, zone text not null, overlap text not null, catch_up text not null, template text not null,
        paused integer not null, next_at double precision, last_at double precision,
        created_at double precision not null, held_at double precision,
        primary key (tenant, name))""",
    """create table reference (
        tenant text collate "C" not null, sha256 text collate "C" not null, task text collate "C" not null,
        primary key (tenant, sha256, task))""",
    "create index reference_task on reference (task, tenant)",
    # How many tasks there are, so that nobody has to count them.
    """create table tally (
        agent text collate "C" not null, state text collate "C" not null, number integer not null,
        primary key (agent, state)) with (fillfactor=50)""",
    "insert into rubato values (0)",
)

_SECOND = (
    """create table api_key (
        tenant text collate "C" not null, id text collate "C" not null, name text not null, scopes text not null,
        digest text not null, created_at double precision not null, expires_at double precision,
        revoked_at double precision, rate_count integer, rate_seconds double precision,
        primary key (tenant, id))""",
)

_THIRD = (
    """create table session (
        tenant text collate "C" not null, agent text collate "C" not null, id text collate "C" not null,
        version integer not null, value text not null, writer text not null, written_at double precision not null,
        primary key (tenant, agent, id)) with (fillfactor=80)""",
    "create index session_written on session (written_at)",
    # what the list filters by; few tasks have it, and those that have it do not lose it
    "create index task_session on task (tenant, (extra::jsonb->>'session') collate \"C\", id) where extra is not null",
)

_FOURTH = (
    """alter table task add column lane text collate "C" not null default ''""",
    "drop index task_queued",
    "drop index task_delayed",
    "create index task_queued on task (agent, lane, tenant, limit_key, priority desc, rank, id, run_at, created_at)"
    " where state='queued'",
    "create index task_delayed on task (agent, lane, tenant, limit_key, run_at) where state='queued' and run_at>0",
    # How many tasks there are in lanes that have not ended; those in none are the rest of the tally.
    """create table lane (
        agent text collate "C" not null, lane text collate "C" not null, state text collate "C" not null,
        number integer not null,
        primary key (agent, lane, state)) with (fillfactor=50)""",
)

MIGRATIONS = (_FIRST, _SECOND, _THIRD, _FOURTH)
VERSION = len(MIGRATIONS)

# What a commit's rows are to the server: a composite type for each kind, (table, columns).
ROWS: dict[str, tuple[str, Sequence[str]]] = {
    "task_row": ("task", Task._fields),
    "moved_row": ("task", ("tenant", "id", *MOVING)),
    "step_row": ("step", StepRow._fields),
    "event_row": ("event", EventRow._fields),
    "key_row": ("idempotency", KeyRow._fields),
    "signal_row": ("signal", SignalRow._fields),
    "taken_row": ("signal", ("tenant", "task", "number")),
    "reference_row": ("reference", Reference._fields),
    "rule_row": ("limit_rule", Rule._fields),
    "schedule_row": ("schedule", Schedule._fields),
    "name_row": ("schedule", ("tenant", "name")),
    "api_key_row": ("api_key", ApiKey._fields),
    "session_row": ("session", Session._fields),
    "session_ref": ("session", ("tenant", "agent", "id")),
    "tally_row": ("tally", ("agent", "state", "number")),
    "lane_row": ("lane", ("agent", "lane", "state", "number")),
    "ref_row": ("task", ("tenant", "id")),
}
OURS = ("rubato", "owner", *dict.fromkeys(table for table, _ in ROWS.values()))

_FOUND = """select c.relname, array_agg(a.attname::text order by a.attnum) from pg_class c
    join pg_attribute a on a.attrelid=c.oid and a.attnum>0 and not a.attisdropped
    where c.relnamespace=current_schema()::regnamespace and c.relkind in ('r','p','c','v','m','f')
    and c.relname=any($1::text[]) group by c.relname"""
_TYPES = """select attname::text, format_type(atttypid, atttypmod) from pg_attribute
    where attrelid=$1::text::regclass and attnum>0 and not attisdropped"""


async def is_current(db: Any) -> bool:
    """Whether nothing has to be prepared. Raises StoreProblem as `prepare` does."""
    if await version(db) != VERSION:
        return False
    found = dict(await db.fetch(_FOUND, list(ROWS)))
    return all(found.get(name) == list(columns) for name, (_, columns) in ROWS.items())


async def prepare(db: Any, *, create: bool) -> None:
    """Bring the schema forward, in the transaction that `db` is in; only `create` makes one where there is none.

    Raises StoreProblem where it is newer than we are, where there is none, or where its tables are not ours.
    """
    await db.execute("select pg_advisory_xact_lock(7822116)")  # one at a time
    found = await version(db)
    if found is None and not create:
        raise StoreProblem("the store is gone: the database is empty; restore it, or choose another state folder")
    for number in range(found or 0, VERSION):
        for statement in MIGRATIONS[number]:
            await db.execute(statement)
    await db.execute(f"update rubato set version={VERSION}")
    await _make_types(db)


async def version(db: Any) -> int | None:
    """The version of the tables that are there, None where there are none. Raises StoreProblem for a newer one, and
    where the tables are somebody else's."""
    if await db.fetchval("select current_schema()") is None:
        raise StoreProblem("the schema that the URL names is not there; create it first")
    found = dict(await db.fetch(_FOUND, OURS))
    if not found:
        return None
    version: int | None = None
    if found.get("rubato") == ["version"]:
        version = await db.fetchval("select version from rubato")
    if version is None:
        names = ", ".join(sorted(found))
        raise StoreProblem(
            f"the database has something else in it, with tables of its own that are called {names};"
            " give Rubato a database, or a schema (?options=-csearch_path%3DNAME), to itself"
        )
    if version > VERSION:
        raise StoreProblem(
            f"this store was written by a newer Rubato (schema {version}, this one knows {VERSION}); run that version"
        )
    return version


async def _make_types(db: Any) -> None:
    """The types of ROWS, as the tables and this version of the records have them; nothing that is stored needs them."""
    for name, (table, columns) in ROWS.items():
        types = dict(await db.fetch(_TYPES, table))
        await db.execute(f"drop type if exists {name}")
        await db.execute(f"create type {name} as ({', '.join(f'{column} {types[column]}' for column in columns)})")
