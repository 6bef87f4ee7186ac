"""How long what is over is kept, and whether a task may go."""

from __future__ import annotations

from typing import NamedTuple

from agents.ids import first_id, moment_of

from .task import UNTOLD, Ref, Task

HOUR, DAY = 3600.0, 86_400.0
PASSES = 24  # through everything, at least, in the time that it is kept


class Retention(NamedTuple):
    """Seconds; 0 is for ever."""

    ended: float = 0.0  # of a task, from its end on
    artifacts: float = 0.0  # of an artifact that no task names, from when it was last written
    sessions: float = 0.0  # of what a session remembers, from when it was last written


def may_go(task: Task, parent: Task | None, before: float) -> bool:
    """Whether a task ended before that moment, and nobody needs it any more: its parent, if it has one, knows of it or
    was over by then, and may go too, or is gone."""
    if task.ended_at is None or not task.ended or task.ended_at >= before:
        return False
    if task.parent_id is None:
        return True
    return task.told != UNTOLD and (parent is None or (parent.ended and (parent.ended_at or 0.0) < before))


def beyond(place: Ref, before: float, now: float) -> Ref:
    """Where to look on after this task. Ids sort by when they were made: none that was made since can have ended
    before, so those are stepped over."""
    tenant, id = place
    return (tenant, first_id(now)) if before <= moment_of(id) <= now else place


def pause_between(age: float) -> float:
    """Seconds from one pass to the next where things are kept so long: nothing stays much longer than that."""
    return min(HOUR, age / PASSES)
