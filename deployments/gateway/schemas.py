"""The documents that the gateway answers with, described for /openapi.json."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from agents import Mode
from cluster.task import State


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(Document):
    """What is wrong and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[str] = []


class TaskError(Document):
    """Why a task failed; one that expired may have a `cause`, the error of its last attempt."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    detail: str
    step: str | None = None
    attempt: int | None = None
    cause: TaskError | None = None


class Waits(Document):
    """What a task in the state `waiting` waits for; whatever comes first wakes it."""

    until: datetime | None
    signals: list[str]
    children: int


class Held(Document):
    """What keeps a queued task from running, and the limit key whose limit that is.

    `place` counts from 1 within the task's limit key, and is 10001 for all beyond the 10,000th; `until` is when this
    may end by itself, `estimate` seconds until its turn: null where nobody knows. `worker` says which workers it may go
    to, null where that is any of its agent.
    """

    reason: Literal["run_at", "paused", "rate", "concurrency", "no_worker", "queue"]
    limit_key: str | None
    place: int | None
    until: datetime | None
    estimate: float | None
    worker: str | None


class Task(Document):
    """One task; what is null has not happened, or was not asked for."""

    id: UUID
    agent: str
    version: str
    tenant: str
    state: State
    input: Any
    output: Any
    error: TaskError | None
    attempts: int
    priority: int
    tags: list[str]
    limit_key: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    run_at: datetime | None
    deadline: datetime | None
    cancel_requested_at: datetime | None
    waiting_on: Waits | Held | None = Field(description="for a queued task only where it is asked for by its id")
    parent_id: UUID | None
    batch_id: UUID | None
    schedule: str | None
    session: str | None


class TaskList(Document):
    """A page of tasks, newest first; `next_cursor` is null on the last."""

    items: list[Task]
    next_cursor: UUID | None


class Batch(Document):
    """The tasks of a batch, in the order of its inputs."""

    batch_id: UUID
    task_ids: list[UUID]


class BatchCounts(Document):
    """How many tasks of a batch there are, have ended, and are in each state."""

    batch_id: UUID
    total: int
    done: int
    states: dict[State, int]


class Result(Document):
    """A line of a batch's results; output and error of a task that has not ended are null."""

    id: UUID
    state: State
    output: Any
    error: TaskError | None


class Rate(Document):
    """How many tasks may start in how many seconds."""

    count: int
    seconds: float


class Limit(Document):
    """The limits of a key, null where there is none, and how many of its tasks run now."""

    limit_key: str
    concurrency: int | None
    rate: Rate | None
    weight: float
    paused_until: datetime | None
    running: int


class LimitList(Document):
    """A page of the keys that have limits; `next_cursor` is null on the last."""

    items: list[Limit]
    next_cursor: str | None


class Paused(Document):
    """Until when no task of the agent starts; null if they do, the year 9999 without an end."""

    agent: str
    paused_until: datetime | None


class Matched(Document):
    """How many tasks it was done to."""

    matched: int


class Step(Document):
    """One recorded step: its name, its key (the author's `:key`, else `#n`), a digest of its arguments, its value."""

    name: str
    key: str
    digest: str
    value: Any
    seq: int
    attempt: int
    at: datetime


class StepList(Document):
    """A task's journal, in the order it was recorded."""

    items: list[Step]
    next_cursor: str | None


class Event(Document):
    """The `data:` of each event of a stream."""

    seq: int
    type: str
    at: datetime
    attempt: int
    step: str = ""
    data: Any


class LogLine(Document):
    """One line that the task's code logged or printed."""

    at: datetime
    attempt: int
    level: str
    logger: str
    message: str


class Artifact(Document):
    """A reference to bytes, to be used in inputs."""

    sha256: str
    size: int
    media_type: str
    name: str


class Agent(Document):
    """An agent: its modes, its types as JSON Schemas, its policies."""

    name: str
    version: str
    description: str
    modes: list[Mode]
    input: dict[str, Any]
    output: dict[str, Any]
    realtime: dict[str, Any] | None
    background: dict[str, Any] | None


class AgentList(Document):
    """All agents."""

    items: list[Agent]
    next_cursor: None


class Health(Document):
    """The answer of a gateway that works."""

    status: Literal["ok", "ready"]


class Index(Document):
    """What this is, and its routes."""

    name: str
    routes: list[str]
