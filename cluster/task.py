"""The records of the background: a task, what is asked of it, and what has become of it.

Those that cross a process or become a row by the thousand are NamedTuples: they pickle and bind in half the time of
a dataclass. Moments are seconds since the epoch; values are JSON text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a task stands; docs/lifecycle.md draws the arrows."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELED})


class Task(NamedTuple):
    """One task, as it is stored. From `state` on the fields move; the others never change."""

    tenant: str
    id: str
    agent: str
    version: str
    input: str
    priority: int
    tags: str  # a JSON list of texts
    batch_id: str | None
    max_attempts: int
    timeout: float  # seconds, of one attempt
    created_at: float
    state: str = State.QUEUED.value  # plain text: SQLite and pickle take their slow ways for an enum
    attempts: int = 0
    fence: int = 0  # the number of the newest claim
    worker: str | None = None  # who holds that claim
    isolated: int = 0  # 1: a worker died while this task was on it, so it runs alone
    run_at: float = 0.0  # not before this moment
    started_at: float | None = None
    ended_at: float | None = None
    cancel_requested_at: float | None = None
    output: str | None = None
    error: str | None = None
    events: int = 0  # how many have been numbered; exact while no worker holds the task

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Options(NamedTuple):
    """What a submitter may ask of a task; None is the agent's own policy."""

    priority: int = 0
    run_at: float | None = None
    timeout: float | None = None
    max_attempts: int | None = None
    tags: tuple[str, ...] = ()


class Submission(NamedTuple):
    """Tasks that are accepted together or not at all.

    `key` is the caller's idempotency key and `digest` tells its body from another; without a key both are ''.
    """

    tenant: str
    route: str
    tasks: tuple[Task, ...]
    key: str = ""
    digest: str = ""
    batch_id: str | None = None


class Submitted(NamedTuple):
    """What was accepted; `replayed` if an earlier submission with the same key already was."""

    task_ids: tuple[str, ...]
    batch_id: str | None
    replayed: bool


class Filter(NamedTuple):
    """Which tasks a list holds; None matches all."""

    agent: str | None = None
    state: str | None = None
    tag: str | None = None
    batch_id: str | None = None
    idempotency_key: str | None = None


class Step(NamedTuple):
    """A recorded step, as the journal shows it."""

    name: str
    key: str
    digest: str
    value: str
    seq: int
    attempt: int
    at: float


class Event(NamedTuple):
    """One numbered event of a task; `step` is None outside of steps, `data` JSON text."""

    seq: int
    type: str
    at: float
    attempt: int
    step: str | None
    data: str


TERMINAL_EVENTS = {State.COMPLETED: "output", State.FAILED: "failed", State.CANCELED: "canceled"}
