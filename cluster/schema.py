"""The tables of the SQLite store, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

from .errors import StoreProblem

# A task's columns follow cluster.task.Task field by field. `without rowid` keeps a task in one b-tree whose order,
# by UUIDv7, is that of arrival.
_FIRST = (
    "create table owner (store_id text not null, generation integer not null, tick integer not null)",
    """create table task (
        tenant text not null, id text not null, agent text not null, version text not null, input text not null,
        priority integer not null, tags text not null, batch_id text, max_attempts integer not null,
        timeout real not null, created_at real not null, state text not null, attempts integer not null,
        fence integer not null, worker text, isolated integer not null, run_at real not null, started_at real,
        ended_at real, cancel_requested_at real, output text, error text, events integer not null,
        primary key (tenant, id)) without rowid""",
    "create index task_queued on task (agent, priority desc, id) where state='queued'",
    "create index task_delayed on task (agent, run_at) where state='queued' and run_at>0",
    "create index task_running on task (state) where state='running'",
    "create index task_trouble on task (tenant, state, id) where state in ('failed', 'canceled')",
    "create index task_batch on task (tenant, batch_id, id) where batch_id is not null",
    """create table step (
        tenant text not null, task text not null, name text not null, key text not null, digest text not null,
        value text not null, seq integer not null, attempt integer not null, at real not null,
        fence integer not null, report integer not null,
        primary key (tenant, task, name, key)) without rowid""",
    """create table event (
        tenant text not null, task text not null, seq integer not null, type text not null, at real not null,
        attempt integer not null, step text not null, data text not null,
        fence integer not null, report integer not null,
        primary key (tenant, task, seq)) without rowid""",
    """create table idempotency (
        tenant text not null, route text not null, key text not null, digest text not null, batch_id text,
        task_ids text not null,
        primary key (tenant, route, key)) without rowid""",
)

# How many rows an index of `task` has, then how many share its first column, its first two, and so on.
_SPREAD = (
    ("task", "1000000 1000000 1"),
    ("task_queued", "100000 10000 5000 1000 1000 1000 1 1 1 1"),
    ("task_delayed", "1000 100 100 100 1"),
    ("task_running", "1000 1000"),
    ("task_trouble", "10000 10000 5000 1"),
    ("task_batch", "500000 500000 1000 1"),
    ("task_waiting", "1000 1"),
    ("task_deadline", "1000 1"),
    ("task_parent", "100000 100000 10 5"),
    ("task_parents", "10000 10000 1"),
    ("task_untold", "100 100 1"),
    ("task_schedule", "1000 1000 2"),
)


def _references(table: str, task: str, column: str) -> str:
    """The artifacts that the JSON of a column names, as rows."""
    return (
        f"insert or ignore into reference select r.tenant, j.value, r.{task} from {table} r,"
        f" json_tree(case when json_valid(r.{column}) then r.{column} else 'null' end) j"
        f" where r.{column} like '%\"sha256\"%' and j.key='sha256' and length(j.value)=64"
    )


_SECOND = (
    *(
        f"alter table task add column {column}"
        for column in (
            "limit_key text not null default 'default'",
            "deadline real",
            "parent_id text",
            "schedule text",
            "extra text",
            "base integer not null default 0",
            "rank integer not null default 1",
            "ran real not null default 0",
            "waiting_on text",
            "children integer not null default 0",
            "signals integer not null default 0",
            "told integer not null default 0",
        )
    ),
    "drop index task_queued",
    "drop index task_delayed",
    # What comes after `id` lets `oldest` and `ahead` be answered by the index alone; SQLite wants `state` there too.
    "create index task_queued on task (agent, tenant, limit_key, priority desc, rank, id, run_at, created_at, state)"
    " where state='queued'",
    "create index task_delayed on task (agent, tenant, limit_key, run_at) where state='queued' and run_at>0",
    "create index task_waiting on task (run_at) where state='waiting' and run_at>0",
    "create index task_deadline on task (deadline) where deadline is not null and state in ('queued','waiting')",
    "create index task_parent on task (tenant, parent_id, state) where parent_id is not null",
    "create index task_parents on task (tenant, id) where children>0",
    "create index task_untold on task (tenant, id)"
    " where parent_id is not null and told=0 and state in ('completed','failed','canceled')",
    "create index task_schedule on task (tenant, schedule)"
    " where schedule is not null and state in ('queued','running','waiting')",
    """create table signal (
        tenant text not null, task text not null, number integer not null, name text not null, payload text not null,
        at real not null, taken integer not null,
        primary key (tenant, task, number)) without rowid""",
    """create table limit_rule (
        tenant text not null, key text not null, concurrency integer, rate_count integer, rate_seconds real,
        weight real not null, paused_until real, arrival real not null,
        primary key (tenant, key)) without rowid""",
    """create table schedule (
        tenant text not null, name text not null, agent text not null, input text not null, cron text not null,
        zone text not null, overlap text not null, catch_up text not null, template text not null,
        paused integer not null, next_at real, last_at real, created_at real not null,
        held_at real,
        primary key (tenant, name)) without rowid""",
    """create table reference (
        tenant text not null, sha256 text not null, task text not null,
        primary key (tenant, sha256, task)) without rowid""",
    *(_references(*where) for where in (("task", "id", "input"), ("task", "id", "output"), ("step", "task", "value"))),
    "create index reference_task on reference (tenant, task)",
    # How many tasks there are, so that nobody has to count them.
    """create table tally (
        agent text not null, state text not null, number integer not null,
        primary key (agent, state)) without rowid""",
    "insert into tally select agent, state, count(*) from task group by agent, state",
    "alter table idempotency add column first text not null default ''",
    "update idempotency set first=json_extract(task_ids, '$[0]')",
    "create index idempotency_first on idempotency (tenant, first)",
    "drop index task_trouble",  # SQLite does not see that `state='failed'` is one of `state in (...)`
    "create index task_trouble on task (tenant, state, id) where state='failed' or state='canceled'",
    # What the planner would guess without numbers: that the tasks of a tenant are few, so that it walks all of them to
    # find those of a batch, a parent or a schedule. These are of a store that is large, and never gathered again.
    "analyze sqlite_schema",
    *(f"insert into sqlite_stat1 values ('task', '{index}', '{rows}')" for index, rows in _SPREAD),
    "analyze sqlite_schema",  # this time it reads them
)

_THIRD = (
    """create table api_key (
        tenant text not null, id text not null, name text not null, scopes text not null, digest text not null,
        created_at real not null, expires_at real, revoked_at real, rate_count integer, rate_seconds real,
        primary key (tenant, id)) without rowid""",
)

_FOURTH = (
    """create table session (
        tenant text not null, agent text not null, id text not null, version integer not null, value text not null,
        writer text not null, written_at real not null,
        primary key (tenant, agent, id)) without rowid""",
    "create index session_written on session (written_at)",
    # what the list filters by; few tasks have it, and those that have it do not lose it
    "create index task_session on task (tenant, json_extract(extra, '$.session'), id) where extra is not null",
    "insert into sqlite_stat1 values ('task', 'task_session', '100000 100000 100 1')",
    "analyze sqlite_schema",
)

_FIFTH = (
    "alter table task add column lane text not null default ''",
    "drop index task_queued",
    "drop index task_delayed",
    "create index task_queued on task"
    " (agent, lane, tenant, limit_key, priority desc, rank, id, run_at, created_at, state) where state='queued'",
    "create index task_delayed on task (agent, lane, tenant, limit_key, run_at) where state='queued' and run_at>0",
    "insert into sqlite_stat1 values"
    " ('task', 'task_queued', '100000 10000 10000 5000 1000 1000 1000 1 1 1 1'),"
    " ('task', 'task_delayed', '1000 100 100 100 100 1')",
    "analyze sqlite_schema",
    # How many tasks there are in lanes that have not ended; those in none are the rest of the tally.
    """create table lane (
        agent text not null, lane text not null, state text not null, number integer not null,
        primary key (agent, lane, state)) without rowid""",
)

MIGRATIONS = (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH)
VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection) -> None:
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
