"""The tables, and how an older file becomes a newer one."""

from __future__ import annotations

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

MIGRATIONS = (_FIRST,)
VERSION = len(MIGRATIONS)
