"""What a caller gets when there is no time, or no room, for the full answer: two pure decisions."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Rung(StrEnum):
    """What becomes of a request."""

    CACHED = "cached"  # an answer that is still fresh
    RUN = "full"  # in a free slot
    QUEUE = "queue"  # run it when a slot is free
    STALE = "stale"  # an answer that was fresh a while ago
    SIMPLE = "simple"  # what the agent can say at once
    TASK = "task"  # go on in the background
    REFUSE = "refuse"  # 429 at the door, 504 at the deadline


class Door(NamedTuple):
    """What there is when a request comes in; times in seconds.

    `stale`, `simple` and `task`: whether there is such an answer, or the caller allows a task. Of `slots` so many are
    `free`, and so many requests are `waiting` in a queue of `queue` places. `service` is how long a run takes, as far
    as is known (0: it is not), and `left` for how long this caller waits.
    """

    fresh: bool = False
    stale: bool = False
    simple: bool = False
    task: bool = False
    slots: int = 1
    free: int = 0
    waiting: int = 0
    queue: int = 0
    service: float = 0.0
    left: float = 0.0

    @property
    def wait(self) -> float:
        """After how long a slot is free for one more in the queue, on average."""
        return self.service * (self.waiting + 1) / self.slots


FREE = Door(free=1)  # where a slot is free, and nothing is kept, nothing else is asked


def admit(door: Door) -> Rung:
    """What to do with a request that comes in. It is queued only where its turn comes in time for an answer: a place
    in the queue that ends at the deadline helps nobody."""
    if door.fresh:
        return Rung.CACHED
    if door.free > 0:
        return Rung.RUN
    if door.waiting < door.queue and door.wait + door.service <= door.left:
        return Rung.QUEUE
    return _without_run(stale=door.stale, simple=door.simple, task=door.task)


def late(*, stale: bool, simple: bool, task: bool) -> Rung:
    """What to do for a caller whose time is almost over while the run goes on."""
    return _without_run(stale=stale, simple=simple, task=task)


def _without_run(*, stale: bool, simple: bool, task: bool) -> Rung:
    if stale:
        return Rung.STALE
    if simple:
        return Rung.SIMPLE
    return Rung.TASK if task else Rung.REFUSE
