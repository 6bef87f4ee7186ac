"""A task's events, put together from the rows that imply them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from .store import EventRow, StepRow
from .task import ENDED, TERMINAL_EVENTS, Event, Task

EMITTED = ("progress", "text.delta", "tool.call")


def assemble(task: Task, steps: Iterable[StepRow], events: Iterable[EventRow], after: int) -> list[Event]:
    """All events numbered above `after`, in order.

    Four kinds have no row of their own: a step's row is its `step.completed`, the task's first claim its first
    `attempt.started`, and the task's end its last event.
    """
    events = list(events)
    steps = list(steps)
    found = [Event(row.seq, row.type, row.at, row.attempt, row.step or None, row.data) for row in events]
    found += [Event(row.seq, "step.completed", row.at, row.attempt, row.name + row.key, "{}") for row in steps]
    if task.started_at is not None and not any(event.seq == 0 for event in found):
        found.append(Event(0, "attempt.started", task.started_at, 1, None, "{}"))
    if task.state in ENDED and task.ended_at is not None:
        found.append(_ending(task, task.ended_at))
    found.sort()
    return [_restart(event, steps, events) for event in found if event.seq > after]


def _ending(task: Task, at: float) -> Event:
    data = {
        "completed": f'{{"output":{task.output}}}',
        "failed": f'{{"error":{task.error}}}',
        "canceled": "{}",
    }[task.state]
    return Event(task.events - 1, TERMINAL_EVENTS[task.state], at, task.attempts, None, data)  # type: ignore[index]


def _restart(event: Event, steps: Sequence[StepRow], events: Sequence[EventRow]) -> Event:
    """A later `attempt.started` says why there is one, and lists what no longer counts: what was emitted inside steps
    that were not recorded."""
    if event.type != "attempt.started" or event.seq == 0:
        return event
    recorded = {row.name + row.key for row in steps if row.seq < event.seq}
    emitted = [row for row in events if row.seq < event.seq and row.step and row.type in EMITTED]
    stale = [row.seq for row in emitted if row.step not in recorded]
    return event._replace(data=json.dumps({**json.loads(event.data), "discard": stale}))
