"""Tasks, their steps and their logs as JSON documents; what is stored as JSON text goes in as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from cluster.task import Step, Task
from cluster.tasklog import LogLine

NULL = "null"

_text = json.JSONEncoder().encode


def task_json(task: Task) -> str:
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
        created_at=_moment(task.created_at),
        started_at=_moment(task.started_at),
        ended_at=_moment(task.ended_at),
        run_at=_moment(task.run_at or None),
        cancel_requested_at=_moment(task.cancel_requested_at),
        batch_id=_text(task.batch_id) if task.batch_id else NULL,
    )


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
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(**parts: str) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def _moment(at: float | None) -> str:
    return NULL if at is None else f'"{moment(at)}"'
