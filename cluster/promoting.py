"""A live run becomes a task: created with what it has reached, and claimed by the process that runs it."""

from __future__ import annotations

import json
from typing import NamedTuple

from .book import Book
from .claims import Hello, Promotion, Report
from .reporting import report
from .steering import check_body
from .store import KeyRow, Store
from .task import Task

FENCE = 1  # of the claim that a promotion makes


class Known(NamedTuple):
    """What the store has of a promotion that was made before."""

    task: Task | None
    key: KeyRow | None


async def known(store: Store, promotion: Promotion) -> Known:
    """Read it."""
    asked = promotion.submission
    key = await store.key(asked.tenant, asked.route, asked.key) if asked.key else None
    return Known(await store.task(*asked.tasks[0].ref), key)


def promote(book: Book, worker: Hello, call: int, promotion: Promotion, known: Known) -> Task:
    """The task, new or as it is. Raises Conflict for a key with another body."""
    asked = promotion.submission
    (task,) = asked.tasks
    mark = (asked.tenant, asked.route, asked.key)
    row = book.writes.keys.get(mark, known.key) if asked.key else None
    if row is not None:
        check_body(row, asked.digest)
    there = book.look(task.ref, known.task)
    if there is not None:
        mine = book.newest(worker.id, (*task.ref, FENCE))
        if mine is not None:
            mine.call = call  # the answer to an earlier one may be lost
        return there
    if asked.key:
        book.writes.keys[mark] = KeyRow(*mark, asked.digest, None, json.dumps([task.id]), task.id)
    claimed = book.adopt(task, worker.id, call, promotion.began, worker.versions.get(task.agent, ""))
    report(book, worker.id, Report(*task.ref, FENCE, 1, promotion.entries), {})
    return claimed
