"""What the stores ask their databases, in the SQL that both know; `?` stands for a value."""

from __future__ import annotations

from typing import Any, NamedTuple

from .apikeys import ApiKey
from .history import EMITTED, RECORDED
from .limits import Rule
from .schedule import Schedule
from .sessions import Session
from .store import EventRow, KeyRow, Reference, SignalRow, StepRow
from .task import Filter, Step, Task

MOVING = Task._fields[Task._fields.index("state") :]
FIXED = len(Task._fields) - len(MOVING)
COLUMNS = ",".join(Task._fields)
SELECT = f"select {COLUMNS} from task"

ONE = f"{SELECT} where tenant=? and id=?"
RUNNING = f"{SELECT} where state='running'"
QUEUES = "select distinct agent, lane, tenant, limit_key from task where state='queued'"
READY = (
    f"{SELECT} where state='queued' and agent=? and lane=? and tenant=? and limit_key=? and run_at<=?"
    " order by priority desc, rank, id limit ?"
)
_QUEUED = "from task where state='queued' and agent=? and lane=? and tenant=? and limit_key=?"
DUE = f"select min(run_at) {_QUEUED} and run_at>0 and run_at>?"  # the first condition opens task_delayed
DUES = (
    "select agent, lane, tenant, limit_key, min(run_at) from task where state='queued' and run_at>0 and run_at>?"
    " group by agent, lane, tenant, limit_key"
)
# Each part is one range of task_queued; as conditions with `or` between them they would take a walk through all of it.
AHEAD = (
    f"select count(*) from (select 1 {_QUEUED} and run_at<=? and priority>?"
    f" union all select 1 {_QUEUED} and run_at<=? and priority=? and rank<?"
    f" union all select 1 {_QUEUED} and run_at<=? and priority=? and rank=? and id<? limit ?) found"
)
WAKES = f"{SELECT} where state='waiting' and run_at>0 and run_at<=? order by run_at limit ?"
OVERDUE = (
    f"{SELECT} where deadline is not null and state in ('queued','waiting') and deadline<=? order by deadline limit ?"
)
NEXT_WAKE = "select min(run_at) from task where state='waiting' and run_at>0"
NEXT_OVERDUE = "select min(deadline) from task where deadline is not null and state in ('queued','waiting')"
OLDEST = (
    "select agent, min(case when run_at>created_at then run_at else created_at end) from task"
    " where state='queued' and run_at<=? group by agent"
)
COUNTS = "select agent, state, number from tally where number<>0"
LANES = "select agent, lane, state, number from lane where number<>0"
RULES = f"select {','.join(Rule._fields)} from limit_rule"
API_KEYS = f"select {','.join(ApiKey._fields)} from api_key"
BATCH = "select state, count(*) from task where tenant=? and batch_id=? group by state"
IN_BATCH = f"{SELECT} where tenant=? and batch_id=? and id>? order by id limit ?"

STEPS = f"select {','.join(StepRow._fields)} from step where tenant=? and task=? order by seq"
JOURNAL = f"select {','.join(Step._fields)} from step where tenant=? and task=? and seq>? order by seq"
_IMPLIED = {"type": f"'{RECORDED}'", "step": "name||key", "data": "'{}'"}
EVENTS = (  # and what steps imply, of (tenant, id, after, tenant, id, after, limit)
    f"select {','.join(EventRow._fields)} from event where tenant=? and task=? and seq>?"
    f" union all select {','.join(_IMPLIED.get(name, name) for name in EventRow._fields)} from step"
    " where tenant=? and task=? and seq>? order by seq limit ?"
)
STALE = (  # emitted before `last` inside of steps that were not recorded before `first`
    f"select seq, step from event where tenant=? and task=? and seq<? and step<>'' and type in {EMITTED}"
    " and step not in (select name||key from step where tenant=? and task=? and seq<?) order by seq"
)
STARTED = "select distinct step from event where tenant=? and task=? and type='step.started'"
EMITTED_COUNT = f"select count(*) from event where tenant=? and task=? and step='' and type in {EMITTED}"
SIGNALS = f"select {','.join(SignalRow._fields)} from signal where tenant=? and task=? and taken=0 order by number"
PROGRESS = (  # of (fence, tenant, id, tenant, id)
    "select coalesce(max(seq), 0), coalesce(max(case when fence=? then report end), 0) from"
    " (select seq, fence, report from step where tenant=? and task=?"
    " union all select seq, fence, report from event where tenant=? and task=?) found"
)
KEY = f"select {','.join(KeyRow._fields)} from idempotency where tenant=? and route=? and key=?"

CHILDREN = (
    f"{SELECT} where tenant=? and parent_id=? and cancel_requested_at is null"
    " and state in ('queued','running','waiting') limit ?"
)
UNTOLD = f"{SELECT} where parent_id is not null and told=0 and state in ('completed','failed','canceled') limit ?"
ORPHANS = (
    f"select {','.join(f'p.{name}' for name in Task._fields)} from task p where exists ("
    "select 1 from task c where c.tenant=p.tenant and c.parent_id=p.id and c.cancel_requested_at is null"
    " and c.state in ('queued','running','waiting')) and p.children>0"
    " and (p.state in ('completed','failed','canceled') or p.cancel_requested_at is not null) limit ?"
)

_SCHEDULE = f"select {','.join(Schedule._fields)} from schedule"
SCHEDULES = f"{_SCHEDULE} order by tenant, name"
SCHEDULES_OF = f"{_SCHEDULE} where tenant=? order by name"
SCHEDULE = f"{_SCHEDULE} where tenant=? and name=?"
OF_SCHEDULE = (
    f"{SELECT} where schedule is not null and state in ('queued','running','waiting') and tenant=? and schedule=?"
    " order by created_at limit ?"
)
_SESSION = "from session where tenant=? and agent=? and id=?"
SESSION = f"select {','.join(Session._fields)} {_SESSION}"
STAMP = SESSION.replace(",value,", ",'',")
IDLE = "select tenant, agent, id from session where written_at<? order by written_at limit ?"
# A page of tasks, and whether each is over, of (before, before, tenant, id, limit).
SWEEP = (
    "select t.tenant, t.id, t.ended_at is not null and t.ended_at<? and (t.parent_id is null or t.told<>0 and coalesce("
    "(select p.ended_at is not null and p.ended_at<? from task p where p.tenant=t.tenant and p.id=t.parent_id), true))"
    " from task t where (t.tenant, t.id) > (?, ?) order by t.tenant, t.id limit ?"
)
FORGET = (  # a task's rows, by (tenant, id)
    "delete from step where tenant=? and task=?",
    "delete from event where tenant=? and task=?",
    "delete from signal where tenant=? and task=?",
    "delete from reference where tenant=? and task=?",
    "delete from idempotency where tenant=? and first=?",
    "delete from task where tenant=? and id=?",
)
TAKE_SIGNAL = "update signal set taken=1 where tenant=? and task=? and number=?"
TALLY = (
    "insert into tally (agent, state, number) values (?,?,?)"
    " on conflict (agent, state) do update set number=tally.number+excluded.number"
)
LANE_TALLY = (
    "insert into lane (agent, lane, state, number) values (?,?,?,?)"
    " on conflict (agent, lane, state) do update set number=lane.number+excluded.number"
)
REFERENCE = "insert into reference (tenant, sha256, task) values (?,?,?) on conflict do nothing"
UPSERT_RULE = (
    f"insert into limit_rule ({','.join(Rule._fields)}) values ({','.join('?' * len(Rule._fields))})"
    f" on conflict (tenant, key) do update set {','.join(f'{name}=excluded.{name}' for name in Rule._fields[2:])}"
)
UPSERT_SCHEDULE = (
    f"insert into schedule ({','.join(Schedule._fields)}) values ({','.join('?' * len(Schedule._fields))})"
    f" on conflict (tenant, name) do update set {','.join(f'{name}=excluded.{name}' for name in Schedule._fields[2:])}"
)
DELETE_SCHEDULE = "delete from schedule where tenant=? and name=?"
UPSERT_API_KEY = (
    f"insert into api_key ({','.join(ApiKey._fields)}) values ({','.join('?' * len(ApiKey._fields))})"
    f" on conflict (tenant, id) do update set {','.join(f'{name}=excluded.{name}' for name in ApiKey._fields[2:])}"
)
DELETE_API_KEY = "delete from api_key where tenant=? and id=?"
UPSERT_SESSION = (
    f"insert into session ({','.join(Session._fields)}) values ({','.join('?' * len(Session._fields))})"
    " on conflict (tenant, agent, id) do update set "
    + ",".join(f"{name}=excluded.{name}" for name in Session._fields[3:])
)
DELETE_SESSION = "delete from session where tenant=? and agent=? and id=?"
TICK = "update owner set tick=? where store_id=? and generation=? and tick=?"
OWNER = "select store_id, generation, tick from owner"

ROWS = {"task": Task, "step": StepRow, "event": EventRow, "idempotency": KeyRow, "signal": SignalRow}
REFERENCE_COLUMNS = Reference._fields


def ahead(task: Task, now: float, limit: int) -> tuple[object, ...]:
    """The values of AHEAD."""
    queue = (task.agent, task.lane, task.tenant, task.limit_key, now)
    place = (task.priority, task.rank, task.id)
    return (*queue, *place[:1], *queue, *place[:2], *queue, *place, limit)


def stale(tenant: str, id: str, first: int, last: int) -> tuple[object, ...]:
    """The values of STALE."""
    return tenant, id, last, tenant, id, first


def insert(table: str) -> tuple[str, str]:
    """An insert into a table of ROWS, up to its values, and those of one row."""
    fields = ROWS[table]._fields  # type: ignore[attr-defined]
    return f"insert into {table} ({','.join(fields)}) values", f"({','.join('?' * len(fields))})"


class Dialect(NamedTuple):
    """Where the two differ."""

    batch_hint: str  # keeps the planner from walking the whole table for the sake of the order
    tagged: str  # holds where the task has the tag
    keyed: str  # holds where the task was created with the key, of (tenant, key)
    talking: str  # holds where the task belongs to the session


def listing(dialect: Dialect, tenant: str, filter: Filter, after: str | None, limit: int) -> tuple[str, list[Any]]:
    """The query of a list, newest first, and its values."""
    where, values = ["tenant=?"], [tenant]
    for column in ("agent", "state", "batch_id", "parent_id"):
        value = getattr(filter, column)
        if column == "state" and value in ("failed", "canceled"):
            where.append(f"state='{value}'")  # spelt out, the planner sees that task_trouble has them all
        elif value is not None:
            where.append(f"{column}=?")
            values.append(value)
    if filter.ended is not None:
        where.append(f"state {'in' if filter.ended else 'not in'} ('completed','failed','canceled')")
    if filter.tag is not None:
        where.append(dialect.tagged)
        values.append(filter.tag)
    if filter.idempotency_key is not None:
        where.append(dialect.keyed)
        values += [tenant, filter.idempotency_key]
    if filter.session is not None:
        where.append(dialect.talking)
        values.append(filter.session)
    if after is not None:
        where.append("id<?")
        values.append(after)
    hint = dialect.batch_hint if filter.batch_id is not None else ""
    return f"{SELECT} {hint} where {' and '.join(where)} order by id desc limit {int(limit)}", values
