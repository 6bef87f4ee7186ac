"""A task's events, put together from the rows that imply them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from .pages import cut, is_cut, size
from .store import EventRow, StepRow
from .task import ENDED, TERMINAL_EVENTS, Event, Task

EMITTED = ("progress", "text.delta", "tool.call")
RECORDED = "step.completed"


def implied(step: StepRow) -> EventRow:
    """The event that a recorded step is."""
    origin = (step.tenant, step.task, step.seq, RECORDED, step.at, step.attempt)
    return EventRow(*origin, step.name + step.key, "{}", step.fence, step.report)


def assemble(task: Task, rows: Iterable[EventRow], after: int, limit: int) -> list[Event]:
    """A page of the events numbered above `after`, at most `limit`, from as many rows of them in order, steps' among
    these.

    Two kinds have no row: the task's first claim is its first `attempt.started`, and its end its last event.
    """
    events = (Event(row.seq, row.type, row.at, row.attempt, row.step or None, row.data) for row in rows)
    found = cut(events, _weight)
    if after < 0 and task.started_at is not None and not any(event.seq == 0 for event in found):
        found.append(Event(0, "attempt.started", task.started_at, 1, None, "{}"))
    if task.state in ENDED and task.ended_at is not None and task.events - 1 > after and not is_cut(found, _weight):
        found.append(_ending(task, task.ended_at))
    found.sort()
    return found[:limit]


def restarts(events: Sequence[Event]) -> tuple[int, int] | None:
    """The first and the last of them that begins a later attempt."""
    found = [event.seq for event in events if _restarts(event)]
    return (found[0], found[-1]) if found else None


def discarding(events: Sequence[Event], stale: Iterable[tuple[int, str]]) -> list[Event]:
    """Have each later `attempt.started` list what no longer counts: what was emitted inside steps that were not
    recorded. `stale` is what was so until the last of them, (number, step), by what was recorded before the first."""
    stale, recorded, found = list(stale), set(), []
    for event in events:
        if event.type == RECORDED:
            recorded.add(event.step)
        elif _restarts(event):
            lost = [seq for seq, step in stale if seq < event.seq and step not in recorded]
            event = event._replace(data=json.dumps({**json.loads(event.data), "discard": lost}))
        found.append(event)
    return found


def _weight(event: Event) -> int:
    return size(event.data)


def _restarts(event: Event) -> bool:
    return event.type == "attempt.started" and event.seq > 0


def _ending(task: Task, at: float) -> Event:
    data = {
        "completed": f'{{"output":{task.output}}}',
        "failed": f'{{"error":{task.error}}}',
        "canceled": "{}",
    }[task.state]
    return Event(task.events - 1, TERMINAL_EVENTS[task.state], at, task.attempts, None, data)  # type: ignore[index]
