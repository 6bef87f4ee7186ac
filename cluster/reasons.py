"""What keeps a queued task from running."""

from __future__ import annotations

import math

from .assigning import held_by
from .book import Book
from .client import Why
from .lanes import words
from .limits import agent_key
from .task import Task

NO_WORKER = 60.0  # seconds in which no worker asked for the tasks of a line


def reason(book: Book, task: Task, place: int, now: float, *, asked: float | None, rate: float) -> Why:
    """`place` counts from 1 within its limit key, `asked` is when a worker last asked for tasks of its line, and
    `rate` how many of them start in a second."""
    if task.run_at > now:
        return Why("run_at", until=task.run_at)
    for owner in ((task.tenant, task.limit_key), agent_key(task.agent)):
        held = held_by(book, owner)
        if held is not None:
            return Why(held.reason, owner[1], place, until=held.until if held.until < math.inf else None)
    if asked is None or now - asked > NO_WORKER:
        return Why("no_worker", task.limit_key, place, worker=words(task.lane) if task.lane else None)
    others = max(1, len(book.ready.line(task.line).turns))
    return Why("queue", task.limit_key, place, estimate=place * others / rate if rate else None)
