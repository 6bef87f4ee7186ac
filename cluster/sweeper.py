"""What is over goes: ended tasks with all that was kept of them, sessions, and artifacts that no task names, little by
little.

Three loops beside the ticks. Whatever one of them does, it rests many times as long afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from agents.artifacts import shelf
from agents.shelves import PARTS, Shelves

from .book import Book, Clock
from .errors import Unavailable
from .references import names
from .remembering import FORGET, forget
from .retention import beyond, may_go, pause_between
from .store import Store
from .task import Ref, Task
from .terms import Terms
from .ticks import Ticks

log = logging.getLogger("rubato.ledger")

LOOK = 1000  # tasks that one look takes in
MOST = 500  # tasks that one tick deletes ...
BRIEF = 0.02  # ... and the seconds that this may take, by what it takes for one task and for each event of it, about
TASK_SECONDS, EVENT_SECONDS = 50e-6, 1e-6
SOME = 100  # artifacts that are asked after at once
REST = 24.0  # times as long as what was done
START = 60.0  # seconds after its start in which a ledger has other things to do
PAUSE = 30.0  # seconds after a failure


class _Deleted(NamedTuple):
    """What came of a tick: how many of the tasks it looked at, and deleted, and about how long it took for that."""

    looked: int = 0
    gone: int = 0
    seconds: float = 0.0


class _Found(NamedTuple):
    """Tasks that may be over, with what else decides about them."""

    tasks: dict[Ref, Task]
    parents: dict[Ref, Task]
    needed: set[Ref]  # by children that have not ended


class Sweeper:
    """Walks through the store and the shelves, again and again."""

    def __init__(self, ticks: Ticks, store: Store, clock: Clock, terms: Terms) -> None:
        self._ticks = ticks
        self._store = store
        self._clock = clock
        self._terms = terms
        self._size = MOST  # tasks to read for a tick: where they are large, it deletes few of them

    async def run(self) -> None:
        """Until cancelled."""
        kept = self._terms.retention
        async with asyncio.TaskGroup() as group:
            if kept.ended:
                group.create_task(_again_and_again(self.tasks, kept.ended))
            if kept.sessions:
                group.create_task(_again_and_again(self.sessions, kept.sessions))
            if kept.artifacts and self._terms.shelves is not None:
                group.create_task(_again_and_again(self.artifacts, kept.artifacts))

    async def tasks(self) -> int:
        """One pass through all tasks; how many are gone."""
        now = self._clock.now()
        before, gone = now - self._terms.retention.ended, 0
        place: Ref | None = None
        while True:
            async with _rested():
                look = await self._store.sweep(place, before, LOOK)
            over = list(look.over)
            while over:
                deleted = await self._delete(over[: self._size], before)
                over = over[deleted.looked :]
                gone += deleted.gone
                self._size = min(MOST, 2 * deleted.looked)
                await asyncio.sleep(REST * deleted.seconds)
            if look.next is None:
                break
            place = beyond(look.next, before, now)
        if gone:
            log.info("%d tasks that had ended long ago are gone", gone)
        return gone

    async def sessions(self) -> int:
        """All sessions that were not written for so long; how many are gone."""
        before, gone, found = self._clock.now() - self._terms.retention.sessions, 0, True
        while found:
            async with _rested():
                going = await self._ticks.move(forget, lambda store, _: store.idle(before, FORGET), rows=FORGET)
            gone, found = gone + going, bool(going)
        if gone:
            log.info("%d sessions that nobody wrote in for long are gone", gone)
        return gone

    async def artifacts(self) -> int:
        """One pass through all artifacts; how many are gone."""
        assert self._terms.shelves is not None, "run() starts it only where there are shelves"
        shelves = await asyncio.to_thread(self._terms.shelves)
        before, gone = self._clock.now() - self._terms.retention.artifacts, 0
        if not await asyncio.to_thread(shelves.own, self._terms.owner):
            log.info("the artifacts are none of this store's, or are not yet: none is deleted")
            return 0
        tenants = {shelf(tenant): tenant for tenant in await self._tenants()}
        for name in await asyncio.to_thread(shelves.names):
            for part in range(PARTS):
                async with _rested():
                    old = await asyncio.to_thread(shelves.old, name, part, before)
                for start in range(0, len(old), SOME):
                    gone += await self._forget(shelves, name, tenants.get(name), old[start : start + SOME], before)
        if gone:
            log.info("%d artifacts that no task names are gone", gone)
        return gone

    # parts

    async def _delete(self, refs: list[Ref], before: float) -> _Deleted:
        """Those of the first of them that may still go, in one tick."""

        async def needs(store: Store, _: bool) -> _Found:
            tasks = await store.many(refs)
            parents = [(task.tenant, task.parent_id) for task in tasks.values() if task.parent_id is not None]
            called = [task.ref for task in tasks.values() if task.children]
            needed = {ref for ref in called if await store.children(*ref, 1)}
            return _Found(tasks, await store.many(parents), needed)

        def apply(book: Book, found: _Found) -> _Deleted:
            deleted = _Deleted()
            for ref in refs:
                if deleted.seconds > BRIEF:
                    break
                deleted = _one_more(book, found, before, ref, deleted)
            return deleted

        deleted: _Deleted = await self._ticks.move(apply, needs, rows=len(refs))
        return deleted

    async def _forget(self, shelves: Shelves, name: str, tenant: str | None, old: list[str], before: float) -> int:
        """Those of them that nobody names; a shelf without a tenant is of one that has no tasks."""
        gone = 0
        async with _rested():
            free = old if tenant is None else await self._unnamed(tenant, old)
        for sha256 in free:
            async with _rested():
                gone += await asyncio.to_thread(shelves.forget, name, sha256, before)
        return gone

    async def _unnamed(self, tenant: str, sha256s: Sequence[str]) -> list[str]:
        """Those that no task names, and no schedule, which may do so after its last task has gone: asked in this
        order, there is no moment at which neither is seen to."""
        named = await self._store.referenced(tenant, sha256s)
        if len(named) < len(sha256s):
            for schedule in await self._store.schedules(tenant):
                named |= names(schedule.input)
        return [sha256 for sha256 in sha256s if sha256 not in named]

    async def _tenants(self) -> set[str]:
        """Who has tasks or schedules: one look for each."""
        found = {schedule.tenant for schedule in await self._store.schedules(None)}
        place: Ref | None = None
        while (look := await self._store.sweep(place, 0.0, 1)).next is not None:
            found.add(look.next[0])
            place = (look.next[0], "g")  # behind every id, all of which are hexadecimal
        return found


@asynccontextmanager
async def _rested() -> AsyncIterator[None]:
    """What is done inside is followed by a rest that is many times as long."""
    began = time.perf_counter()
    yield
    await asyncio.sleep(REST * (time.perf_counter() - began))


def _one_more(book: Book, found: _Found, before: float, ref: Ref, so_far: _Deleted) -> _Deleted:
    """Delete the task, unless it is gone, needed, or was taken up again meanwhile."""
    looked, gone, seconds = so_far
    task = book.look(ref, found.tasks.get(ref))
    if task is None or ref in found.needed:
        return _Deleted(looked + 1, gone, seconds)
    above = (task.tenant, task.parent_id or "")
    if not may_go(task, book.look(above, found.parents.get(above)), before):
        return _Deleted(looked + 1, gone, seconds)
    book.forget(task)
    return _Deleted(looked + 1, gone + 1, seconds + TASK_SECONDS + EVENT_SECONDS * (task.events + task.signals))


async def _again_and_again(sweep: Callable[[], Awaitable[int]], age: float) -> None:
    """One pass after the other."""
    pause = pause_between(age)
    await asyncio.sleep(min(START, pause))
    while True:
        try:
            await sweep()
        except Unavailable as error:
            log.warning("what is over stays a while longer: %s", error)
            await asyncio.sleep(PAUSE)
        except Exception:
            log.exception("what is over could not be looked for, and is later")
            await asyncio.sleep(PAUSE)
        await asyncio.sleep(pause)
