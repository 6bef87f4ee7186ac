"""Tasks, their steps and their logs, and schedules as JSON documents; what is stored as JSON text goes in as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import Any

from cluster.apikeys import ApiKey
from cluster.client import Batch, Limit, Why
from cluster.cron import times
from cluster.schedule import Schedule
from cluster.schedule import read as read_template
from cluster.task import ENDED, State, Step, Task
from cluster.tasklog import LogLine
from cluster.waits import read

NULL = "null"
LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()  # of all moments that callers may name
NEXT = 5  # times that the document of a schedule shows

_encode = json.JSONEncoder().encode


def task_json(task: Task, why: Why | None = None) -> str:
    """The task; `why` is what keeps it in the queue, where somebody asked."""
    waits = task.state == State.WAITING
    return _object(
        id=_text(task.id),
        agent=_text(task.agent),
        version=_text(task.version),
        tenant=_text(task.tenant),
        state=_text(task.state),
        input=task.input,
        output=task.output or NULL,
        error=task.error or NULL,
        attempts=str(task.attempts),
        priority=str(task.priority),
        tags=task.tags,
        limit_key=_text(task.limit_key),
        created_at=_moment(task.created_at),
        started_at=_moment(task.started_at),
        ended_at=_moment(task.ended_at),
        run_at=NULL if waits else _moment(task.run_at or None),
        deadline=_moment(task.deadline),
        cancel_requested_at=_moment(task.cancel_requested_at),
        waiting_on=waits_json(task.waiting_on or "{}") if waits else NULL if why is None else _why_json(why),
        parent_id=_text(task.parent_id) if task.parent_id else NULL,
        batch_id=_text(task.batch_id) if task.batch_id else NULL,
        schedule=_text(task.schedule) if task.schedule else NULL,
        session=_text(task.session) if task.session else NULL,
    )


def waits_json(stored: str) -> str:
    """What a task waits for, from how it is stored."""
    waits = read(stored)
    left = sum(number for _, number in waits.children)
    moved = {"worker": _text(waits.worker)} if waits.worker else {}
    return _object(until=_moment(waits.until), signals=_text(waits.signals), children=str(left), **moved)


def batch_json(batch: Batch) -> str:
    states = {state.value: batch.states.get(state, 0) for state in State}
    return _object(
        batch_id=_text(batch.id),
        total=str(sum(states.values())),
        done=str(sum(states[state] for state in ENDED)),
        states=_text(states),
    )


def result_json(task: Task) -> str:
    """What has come of a task of a batch."""
    return _object(id=_text(task.id), state=_text(task.state), output=task.output or NULL, error=task.error or NULL)


def limit_json(limit: Limit) -> str:
    rule, rate = limit.rule, None
    if rule.rate_count is not None:
        rate = {"count": rule.rate_count, "seconds": rule.rate_seconds}
    return _object(
        limit_key=_text(rule.key),
        concurrency=_text(rule.concurrency),
        rate=_text(rate),
        weight=_text(rule.weight),
        paused_until=end_of_pause(rule.paused_until),
        running=str(limit.running),
    )


def end_of_pause(until: float | None) -> str:
    """As a moment; that of a pause without an end is the latest there is."""
    return _moment(None if until is None else min(until, LATEST))


def step_json(step: Step) -> str:
    return _object(
        name=_text(step.name),
        key=_text(step.key),
        digest=_text(step.digest),
        value=step.value,
        seq=str(step.seq),
        attempt=str(step.attempt),
        at=_moment(step.at),
    )


def schedule_json(schedule: Schedule) -> str:
    """The schedule with its next few times, as far as it is not paused."""
    options = read_template(schedule.template).options
    next_at = None if schedule.paused else schedule.next_at
    later = islice(times(schedule.cron, schedule.zone, next_at), NEXT - 1) if next_at is not None else ()
    following = [*([] if next_at is None else [next_at]), *later]
    return _object(
        name=_text(schedule.name),
        agent=_text(schedule.agent),
        input=schedule.input,
        cron=_text(schedule.cron),
        zone=_text(schedule.zone),
        overlap=_text(schedule.overlap),
        catch_up=_text(schedule.catch_up),
        paused=_text(bool(schedule.paused)),
        options=_object(
            priority=_text(options.priority),
            timeout=_text(options.timeout),
            max_attempts=_text(options.max_attempts),
            retry=_text(options.retry),
            limit_key=_text(options.limit_key),
            tags=_text(options.tags),
            market=_text(options.market),
        ),
        next_at=_moment(next_at),
        held_at=_moment(schedule.held_at),
        last_at=_moment(schedule.last_at),
        next=f"[{','.join(map(_moment, following))}]",
        created_at=_moment(schedule.created_at),
    )


def key_json(key: ApiKey, text: str | None = None) -> str:
    """An API key; with its text only where it was just made, for that is not kept."""
    rate = None if key.rate_count is None else {"count": key.rate_count, "seconds": key.rate_seconds}
    shown = {} if text is None else {"key": _text(text)}
    return _object(
        id=_text(key.id),
        name=_text(key.name),
        tenant=_text(key.tenant),
        scopes=_text(key.scopes.split()),
        rate=_text(rate),
        created_at=_moment(key.created_at),
        expires_at=_moment(key.expires_at),
        revoked_at=_moment(key.revoked_at),
        **shown,
    )


def log_json(line: LogLine) -> str:
    return _object(
        at=_moment(line.at),
        attempt=str(line.attempt),
        level=_text(line.level),
        logger=_text(line.logger),
        message=_text(line.message),
    )


def list_json(items: Iterable[str], next_cursor: str | None = None) -> str:
    """The shape of every list."""
    return f'{{"items":[{",".join(items)}],"next_cursor":{_text(next_cursor) if next_cursor else NULL}}}'


def moment(at: float) -> str:
    """Seconds since the epoch as RFC 3339, in UTC."""
    second = math.floor(at)
    more, micros = divmod(round((at - second) * 1_000_000), 1_000_000)
    return f"{_second(second + more)}.{micros // 1000:03d}Z"


@lru_cache(64)  # most moments of a task lie in one second, and in that of its neighbours
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()


def _why_json(why: Why) -> str:
    return _object(
        reason=_text(why.reason),
        limit_key=_text(why.limit_key),
        place=_text(why.place),
        until=_moment(why.until),
        estimate=_text(None if why.estimate is None else round(why.estimate, 3)),
        worker=_text(why.worker),
    )


def _text(value: Any) -> str:
    return encode_basestring_ascii(value) if type(value) is str else _encode(value)


def _object(**parts: str) -> str:
    return "{" + ",".join([f'"{name}":{text}' for name, text in parts.items()]) + "}"


def _moment(at: float | None) -> str:
    return NULL if at is None else f'"{moment(at)}"'
