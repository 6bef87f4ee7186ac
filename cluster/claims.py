"""What the ledger and its workers say to each other: claims go down, reports come up."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from agents.events import Emitted
from agents.journal import StepRecord
from agents.waits import News as News
from agents.waits import SignalSent as SignalSent

from .sessions import SessionLink
from .task import Origin, Submission, Task

LEASE = 15.0  # seconds a claim holds after the worker sent a heartbeat that lists it
MARGIN = 3.0  # seconds before the end of its lease in which a worker starts no step
BEAT = 3.0  # seconds between heartbeats
AWAY = "away-"  # how the ids begin of workers of another cluster, which held claims when its store was taken


Held = tuple[str, str, int]  # (tenant, task id, fence): what a claim is called


class Claim(NamedTuple):
    """One worker's right to run one attempt, until a newer fence."""

    task: Task  # `attempts` counts this one, `fence` is this claim's number
    now: float = 0.0  # the ledger's clock when it claimed: what the durations of waits go by
    journal: tuple[StepRecord, ...] = ()  # what earlier claims recorded
    emitted: int = 0  # how many events earlier claims emitted outside of steps
    started: tuple[str, ...] = ()  # steps that began once and for all, as `name + key`, and have no record
    signals: tuple[SignalSent, ...] = ()


class Ending(StrEnum):
    """How a worker is done with a claim."""

    COMPLETED = "completed"
    FAILED = "failed"  # for good
    RETRY = "retry"  # again at `retry_at`, if attempts are left
    CANCELED = "canceled"
    RELEASED = "released"  # given back unharmed: nothing is counted
    WAITING = "waiting"  # every branch of the run waits; nothing is counted
    MOVED = "moved"  # likewise, and the next step needs a worker of another lane


class Verdict(NamedTuple):
    """The end of one claim; `output`, `error` and `waiting_on` are JSON text."""

    ending: Ending
    output: str | None = None
    error: str | None = None
    retry_at: float = 0.0
    waiting_on: str | None = None  # as cluster.waits has it
    ran: float = 0.0  # seconds this claim ran, where it ends in a wait or a move
    heard: int = 0  # how many pieces of news of this claim the run has seen, likewise ...
    ends: tuple[tuple[str, int], ...] | None = None  # ... and of how many children's ends, by group it waits for
    lane: str = ""  # in which it goes on, where it moves


class StepDone(NamedTuple):
    """A step to record; `signal` is the number of the one it took, where it waited for one."""

    record: StepRecord
    at: float
    signal: int | None = None


class Called(NamedTuple):
    """A child to create, unless it exists: its id is fixed by its parent and the step that calls it."""

    id: str
    agent: str
    version: str
    input: str
    max_attempts: int
    timeout: float
    origin: Origin
    deadline: float | None = None


Entry = StepDone | Emitted | Called


class Report(NamedTuple):
    """News of one claim, in the order it happened. `number` counts the claim's reports from 1: a report that comes
    twice is applied once."""

    tenant: str
    task_id: str
    fence: int
    number: int
    entries: tuple[Entry, ...] = ()
    verdict: Verdict | None = None


_ANYWHERE: Mapping[str, tuple[str, ...]] = {}
_ANY: Mapping[str, str] = {}


class Hello(NamedTuple):
    """Who pulls: `id` is one process's, never used again; `slots` is how many tasks of each agent it runs at once."""

    id: str
    kind: str
    slots: dict[str, int]
    lines: Mapping[str, tuple[str, ...]] = _ANYWHERE  # where it takes an agent's tasks from, as cluster.lanes has it
    versions: Mapping[str, str] = _ANY  # of the agents whose tasks are to finish with the version that began them

    def lines_of(self, agent: str) -> tuple[str, ...]:
        """Where it takes this agent's tasks from: of those in no lane, where nothing else is said."""
        return self.lines.get(agent) or (agent,)


class Orders(NamedTuple):
    """What a worker is to do next."""

    claims: tuple[Claim, ...] = ()
    cancels: tuple[Held, ...] = ()  # runs to cancel
    news: tuple[tuple[Held, tuple[News, ...]], ...] = ()  # what runs that are held may wait for, as it happens
    stop: bool = False  # finish what is held, then end: the ledger does not know this worker any more


class Answer(NamedTuple):
    """What became of a batch of reports; `lost` lists those whose claim is not the newest: they changed nothing."""

    lost: tuple[Held, ...]
    orders: Orders


class Promotion(NamedTuple):
    """A live run that goes on as a task: the one task of `submission`, whose attempt began at `began`, and what the run
    has reached so far, in order. It makes report 1 of claim 1."""

    submission: Submission
    began: float
    entries: tuple[Entry, ...]


class WorkerLink(Protocol):
    """The ledger as a worker sees it. Each method may raise Unavailable; the same call may then be made again.

    `call` numbers this worker's calls to `pull` and `report` from 1, over both: the ledger tags what it hands over
    with it, and so knows from a heartbeat which claims never arrived.
    """

    async def pull(self, worker: Hello, call: int) -> Orders:
        """Waits, up to some seconds, until there is something to do. A newer pull answers an older one, empty."""

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        """Returns once the reports are durable; may carry new claims, as `pull` does."""

    def beat(self, worker: str, seen: Picture) -> Beat:
        """Renews the leases of the claims held; blocking, for the heartbeat's own thread.

        A claim of this worker that is neither held nor handed over by an open or newer call never arrived, and goes
        back to the queue free of charge.
        """


class PoolLink(WorkerLink, SessionLink, Protocol):
    """The ledger as a worker of the pool sees it, whose runs may have sessions."""


class HolderLink(WorkerLink, Protocol):
    """The ledger as a process sees it that has runs of its own."""

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        """Creates the task, claimed by this worker, and returns it once it is durable. One that exists already is
        returned as it is, changed in nothing: whoever asks again finds out whether it still has the claim.

        Raises Conflict where the submission's key came with another body before.
        """


class Picture(NamedTuple):
    """What a worker sees at one moment: the newest call it made, its calls without an answer, the claims it holds, and
    the book that it last heard of, if all these calls were made after that."""

    latest: int
    open: tuple[int, ...]
    held: tuple[Held, ...]
    book: str = ""


class Beat(NamedTuple):
    """The answer to a heartbeat: the claims of the list that are not this worker's any more, runs to cancel, and the
    claims of which nobody can say now; all others are renewed. `book` names the reading of the store it is given by."""

    lost: tuple[Held, ...]
    cancels: tuple[Held, ...] = ()
    unsure: tuple[Held, ...] = ()
    book: str = ""
