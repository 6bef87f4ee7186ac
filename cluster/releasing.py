"""Tasks that were to finish with the version that began them, and for which no worker of that version is left: they go
on with any."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .book import Book, Clock
from .lanes import Lane, of_version
from .store import EventRow, Store
from .task import State, Task
from .ticks import Ticks

SOME = 500  # tasks that one tick releases


class Releasing:
    """What a ledger lets the pool do with a lane of a version."""

    _ticks: Ticks
    _clock: Clock

    async def release(self, agent: str, lane: str, reason: str) -> int:
        """The queued tasks of that lane that are due go on with any version, once this returns; how many. Asked again
        it finds none, or those that came meanwhile."""
        released, some = 0, 1
        while some:
            some = await self._ticks.move(
                lambda book, found: release(book, found, lane, reason),
                lambda store, _: due(store, self._ticks.book, agent, lane, self._clock.now()),
                rows=SOME,
            )
            released += some
        return released


async def due(store: Store, book: Book, agent: str, lane: str, now: float) -> list[Task]:
    """Some of the tasks of that lane that are due, as the store has them."""
    line, found = book.ready.line_of(agent, lane), list[Task]()
    for owner in list(line.windows):
        if len(found) >= SOME:
            break
        found += await store.ready(line.queue(owner), now, SOME - len(found))
    return found


def release(book: Book, tasks: Iterable[Task], lane: str, reason: str) -> int:
    """Queue those that still are in that lane in the same one without a version, and tell their events why; how
    many."""
    version, now, released = Lane.parse(lane).version, book.clock.now(), 0
    data = json.dumps({"from": version, "reason": reason})
    for stored in tasks:
        task = book.look(stored.ref, stored)
        if task is None or task.state != State.QUEUED or task.lane != lane or not version:
            continue
        book.writes.events.append(
            EventRow(task.tenant, task.id, task.events, "moved", now, task.attempts, "", data, task.fence, 0)
        )
        book.revise(task, lane=of_version(lane), events=task.events + 1)
        released += 1
    return released
