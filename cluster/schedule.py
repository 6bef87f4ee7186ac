"""What starts a task at set times: the record of a schedule."""

from __future__ import annotations

from typing import NamedTuple


class Schedule(NamedTuple):
    """A cron expression, and the task that it creates each time."""

    tenant: str
    name: str
    agent: str
    input: str
    cron: str
    zone: str  # an IANA time zone
    overlap: str  # skip, queue_one, allow or cancel: what if the last one still runs
    catch_up: str  # none, one or all: of the times that were missed
    template: str  # a JSON object of the other fields of its tasks: version, priority, tags, timeout, ...
    paused: int
    next_at: float | None  # None: never again
    last_at: float | None  # the time of the last task it created
    created_at: float
    held_at: float | None = None  # a time that is past, and whose task waits for the one before it to end
