"""The records of the background: a task, what is asked of it, and what has become of it.

Those that cross a process or become a row by the thousand are NamedTuples: they pickle and bind in half the time of
a dataclass. Moments are seconds since the epoch; values are JSON text.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple

from .lanes import ANY, Lane, line

DEFAULT_KEY = "default"  # the limit key of a task that names none: its tenant's own
AGENT_KEY = "agent:"  # before an agent's name: the limit key of all its tasks, whoever's they are
SIGNALS = 10_000  # that one task may be sent
RESUMED, NEW = 0, 1  # `rank`: what resumes after a wait goes before what is new
UNTOLD, TOLD, UNHEARD = 0, 1, 2  # `told`


class State(StrEnum):
    """Where a task stands; docs/lifecycle.md draws the arrows."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
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
    timeout: float  # running seconds of one attempt
    created_at: float
    limit_key: str = DEFAULT_KEY
    deadline: float | None = None  # the end of all: later it neither starts nor goes on
    parent_id: str | None = None  # the task that called it
    schedule: str | None = None  # the schedule that created it
    extra: str | None = (
        None  # a JSON object of what few tasks have: `retry`, `session`, `market`, `origin` (see Origin)
    )
    state: str = State.QUEUED.value  # plain text: SQLite and pickle take their slow ways for an enum
    attempts: int = 0
    base: int = 0  # the attempts that were used up before the last retry by hand
    fence: int = 0  # the number of the newest claim
    worker: str | None = None  # who holds that claim
    isolated: int = 0  # 1: a worker died while this task was on it, so it runs alone
    rank: int = NEW
    run_at: float = 0.0  # queued: not before this moment; waiting: wake it then (0: no moment wakes it)
    ran: float = 0.0  # running seconds that this attempt had before its last wait
    started_at: float | None = None
    ended_at: float | None = None
    cancel_requested_at: float | None = None
    waiting_on: str | None = None  # while it waits: what for, as cluster.waits has it
    children: int = 0  # how many tasks it has called
    signals: int = 0  # how many signals it was sent
    told: int = UNTOLD  # whether a child's end stands in its parent's journal; UNHEARD: the parent was over by then
    output: str | None = None
    error: str | None = None
    events: int = 0  # how many have been numbered; exact while no worker holds the task
    lane: str = ""  # which workers it may go to, as cluster.lanes has it

    def but(self, **changes: Any) -> Task:
        """The task with other values in these fields; a third of what `_replace` takes."""
        row = list(self)
        for name, value in changes.items():
            row[_PLACES[name]] = value
        return tuple.__new__(Task, row)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def ref(self) -> Ref:
        return self.tenant, self.id

    @property
    def line(self) -> str:
        """Where it waits for a worker."""
        return line(self.agent, self.lane) if self.lane else self.agent

    @property
    def market(self) -> str:
        """Of which market's nodes it may run, as it was submitted."""
        return str(json.loads(self.extra).get("market", ANY)) if self.extra else ANY

    @property
    def home(self) -> str:
        """The lane that it is in while none of its steps asks for another worker."""
        return Lane(self.market, version=Lane.parse(self.lane).version).text if self.lane else ""

    @property
    def first(self) -> str:
        """The lane that it was submitted in, when it had not run anywhere yet."""
        return Lane(self.market).text if self.lane else ""  # who is in no lane was submitted for none

    @property
    def used(self) -> int:
        """How many of its `max_attempts` have begun: a retry by hand gives it all of them anew."""
        return self.attempts - self.base

    @property
    def origin(self) -> Origin | None:
        """Which call of its parent made this task; None if it has no parent."""
        found = json.loads(self.extra).get("origin") if self.extra else None
        return Origin(*found) if found else None

    @property
    def retry(self) -> dict[str, float] | None:
        """The retry policy it was submitted with, None for its agent's own."""
        found: dict[str, float] | None = json.loads(self.extra).get("retry") if self.extra else None
        return found

    @property
    def session(self) -> str | None:
        """The session whose memory its run reads and writes, None for none."""
        found: str | None = json.loads(self.extra).get("session") if self.extra else None
        return found


Ref = tuple[str, str]  # (tenant, task id)
_PLACES = {name: place for place, name in enumerate(Task._fields)}


class Origin(NamedTuple):
    """The step of a parent's run that called a child: `group` is what the parent waits for, one call or a whole map."""

    name: str
    key: str
    digest: str
    group: str
    depth: int  # of the child; a task that nobody called has 0


def extra_json(
    *,
    retry: dict[str, float] | None = None,
    origin: Origin | None = None,
    session: str | None = None,
    market: str = ANY,
) -> str | None:
    """A task's `extra`."""
    parts: dict[str, Any] = {}
    if retry is not None:
        parts["retry"] = retry
    if origin is not None:
        parts["origin"] = origin
    if session is not None:
        parts["session"] = session
    if market != ANY:
        parts["market"] = market
    return json.dumps(parts) if parts else None


class Options(NamedTuple):
    """What a submitter may ask of a task; None is the agent's own policy."""

    priority: int = 0
    run_at: float | None = None
    timeout: float | None = None
    max_attempts: int | None = None
    tags: tuple[str, ...] = ()
    limit_key: str = DEFAULT_KEY
    deadline: float | None = None
    retry: dict[str, float] | None = None
    session: str | None = None
    market: str = ANY


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


class Once(NamedTuple):
    """The Idempotency-Key of a caller who asks for something: asked again with an equal body, it has been done."""

    route: str
    key: str
    digest: str  # tells its body from another


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
    parent_id: str | None = None
    ended: bool | None = None
    session: str | None = None


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
