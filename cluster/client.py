"""What the rest of Rubato may ask of the ledger."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .apikeys import ApiKey
from .limits import Rule
from .schedule import Schedule
from .sessions import SessionLink
from .stats import Figures, Measures
from .task import Event, Filter, Once, Step, Submission, Submitted, Task


class EventPage(NamedTuple):
    """Committed events in order; `ended` once the last of the task is among those seen."""

    events: tuple[Event, ...]
    ended: bool


class Counts(NamedTuple):
    """The ledger's own numbers: tasks by agent and state, and its ticks so far."""

    tasks: dict[str, dict[str, int]]
    ticks: int


class Why(NamedTuple):
    """What keeps a queued task from running.

    `reason` is run_at, paused, rate, concurrency, no_worker or queue; `place` counts from 1 within its limit key, and
    from 10,001 on not further; `until` is when that may end by itself, `estimate` seconds until its turn, both None
    where nobody knows. `worker` says which workers it may go to, where that is not any of its agent.
    """

    reason: str
    limit_key: str | None = None  # of which that is a limit
    place: int | None = None
    until: float | None = None
    estimate: float | None = None
    worker: str | None = None


class Demand(NamedTuple):
    """The tasks of one agent that are in one lane ('': any worker of the agent will do), and how they fare.

    `queued` are due; where more are than the ledger has in memory, those that are not due yet are among them. `oldest`
    is for how many seconds one that is next could have started (None: there is none in memory), `service` how many
    seconds a worker had a claim, of late (None: nobody knows), and `claims` how many are handed out in a second.
    `deadlines` are those of queued tasks in memory, the nearest first: a moment, and how many end then or a little
    later (see cluster.demand).
    """

    agent: str
    lane: str
    queued: int
    running: int
    waiting: int
    oldest: float | None
    service: float | None
    claims: float
    deadlines: tuple[tuple[float, int], ...]


class Limit(NamedTuple):
    """The limits of a key, and how many of its tasks run now."""

    rule: Rule
    running: int


class Batch(NamedTuple):
    """Tasks that were submitted together, counted by state."""

    id: str
    states: dict[str, int]


class Keys(NamedTuple):
    """The keys that are not revoked, as of a version."""

    version: str
    keys: tuple[ApiKey, ...]
    made: bool  # whether there ever was one: from then on nobody gets in without


class LedgerClient(SessionLink, Protocol):
    """The ledger as the gateway sees it.

    Every method may raise Unavailable, after it has tried for a while; what it was asked to write may then be
    written or not, and asking again with the same ids or key is safe. With `once` what was done before under that key
    is not done again; it raises Conflict where that was asked with another body.
    """

    async def submit(self, submission: Submission) -> Submitted:
        """Returns once the tasks are durable. Raises Conflict for a known key with another body, Expired for a
        deadline that has passed, Overloaded."""

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

    async def steps(self, tenant: str, id: str, after: int = -1) -> list[Step] | None:
        """A page of the journal in the order it was recorded, of steps with a higher number than `after`."""

    async def counts(self) -> Counts: ...

    async def figures(self) -> Figures:
        """What the ledger counted of itself since it started."""

    async def oldest(self) -> dict[str, float]:
        """Since when the first of each agent's queued tasks that are due could have started."""

    async def measures(self) -> Measures:
        """All that can be measured of it, in one call that costs it little."""

    async def demand(self) -> tuple[Demand, ...]:
        """What each line of tasks asks of its workers, in one call that costs it little."""

    async def why(self, tenant: str, id: str) -> Why | None:
        """What keeps a queued task from running; None if there is no such task, or it is not queued."""

    async def retry(self, tenant: str, id: str, once: Once | None = None) -> Task | None:
        """The task, queued again with all its attempts. Raises Conflict if it did not fail."""

    async def cancel_all(self, tenant: str, filter: Filter) -> int:
        """Cancel the tasks that match and have not ended; how many."""

    async def retry_all(self, tenant: str, filter: Filter) -> int:
        """Retry the tasks that match and have failed, or that were canceled where the filter says so; how many."""

    async def fork(
        self,
        tenant: str,
        id: str,
        from_step: str,
        *,
        new_id: str,
        input: str | None,
        version: str,
        once: Once | None = None,
    ) -> Task | None:
        """A new task with what the task had recorded before that step (`name + key`). Raises Conflict for a step that
        it has not. A key must fix `new_id` too."""

    async def signal(self, tenant: str, id: str, name: str, payload: str, once: Once | None = None) -> Task | None:
        """The task, with the signal kept for its next wait for one of that name. Raises Conflict where it has ended."""

    async def limit(self, tenant: str, key: str) -> Limit:
        """The limits of a key, which limit nothing where none were set."""

    async def limits(self, tenant: str, after: str, limit: int, *, agents: bool = True) -> list[Limit]:
        """At most `limit` of a tenant's keys that have limits, in the order of the keys above `after`; without `agents`
        none of those for all tasks of an agent."""

    async def set_rule(self, rule: Rule) -> Limit:
        """The limits of a key, from now on."""

    async def pause(self, agent: str, until: float | None) -> None:
        """Start no more tasks of the agent until that moment (None: from now on again)."""

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        """How many tasks of a batch are in each state; None if there is no such batch."""

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        """At most `limit` tasks of a batch in the order of its inputs, ids above `after`."""

    async def schedules(self, tenant: str, after: str, limit: int) -> list[Schedule]:
        """At most `limit` schedules of the tenant by name, from the one after that name on."""

    async def schedule(self, tenant: str, name: str) -> Schedule | None:
        """The schedule, None if this tenant has none of that name."""

    async def put_schedule(self, schedule: Schedule, paused: bool | None) -> tuple[Schedule, bool]:
        """The schedule as it is kept from now on, and whether it is new; `paused` None leaves that as it was."""

    async def delete_schedule(self, tenant: str, name: str) -> bool:
        """Whether there was one. The tasks that it created go on."""

    async def pause_schedule(self, tenant: str, name: str, paused: bool) -> Schedule | None:
        """The schedule, paused or going on from now on; None if there is none."""

    # keys; a tenant that is None is everybody

    async def add_key(self, key: ApiKey) -> ApiKey:
        """The key as it is kept from now on. Raises Conflict where there is another of its id, where it is the first
        and not an operator's, and where there are too many."""

    async def revoke_key(self, tenant: str | None, id: str) -> ApiKey | None:
        """The key, which lets nobody in from now on; None if there is none."""

    async def key(self, tenant: str | None, id: str) -> ApiKey | None:
        """The key, None if there is none."""

    async def keys(self, tenant: str | None, after: str | None, limit: int) -> list[ApiKey]:
        """At most `limit` keys, the newest first, ids below `after`."""

    async def keys_since(self, version: str) -> Keys | None:
        """All that those who check keys need to know, None where nothing changed since that version."""
