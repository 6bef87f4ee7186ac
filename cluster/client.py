"""What the rest of Rubato may ask of the ledger."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .task import Event, Filter, Step, Submission, Submitted, Task


class EventPage(NamedTuple):
    """Committed events in order; `ended` once the last of the task is among those seen."""

    events: tuple[Event, ...]
    ended: bool


class Counts(NamedTuple):
    """The ledger's own numbers: tasks by agent and state, and its ticks so far."""

    tasks: dict[str, dict[str, int]]
    ticks: int


class LedgerClient(Protocol):
    """The ledger as the gateway sees it.

    Every method may raise Unavailable, after it has tried for a while; what it was asked to write may then be
    written or not, and asking again with the same ids or key is safe.
    """

    async def submit(self, submission: Submission) -> Submitted:
        """Returns once the tasks are durable. Raises Conflict for a known key with another body, Overloaded."""

    async def submit_and_wait(self, submission: Submission, wait: float) -> tuple[Submitted, Task | None]:
        """Submit one task, and follow it for so many seconds: one trip where a caller waits for the answer."""

    async def task(self, tenant: str, id: str, wait: float = 0) -> Task | None:
        """The task, None if this tenant has none of that id; with `wait`, as soon as it ended or so many seconds
        are over."""

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        """At most `limit` tasks, newest first, older than the id `after`."""

    async def cancel(self, tenant: str, id: str) -> Task | None:
        """The task with its cancel recorded. Raises Conflict if it had ended otherwise."""

    async def events(self, tenant: str, id: str, after: int, wait: float) -> EventPage | None:
        """Committed events with a higher number than `after` (-1: all); waits up to `wait` seconds for the first."""

    async def steps(self, tenant: str, id: str) -> list[Step] | None:
        """The journal in the order it was recorded."""

    async def counts(self) -> Counts: ...
