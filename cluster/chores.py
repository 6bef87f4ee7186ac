"""What the ledger does by itself: wake what is due, end what is overdue, tell parents and cancel children.

Each is a loop over what the store says, so that nothing is forgotten by whoever died in between.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

from .book import Book, Clock
from .errors import Unavailable
from .families import cancel_children, tell_parents
from .pages import cut, weight
from .steering import end_overdue, wake_due
from .store import Store, Writes
from .task import Ref, State, Task
from .ticks import Ticks

log = logging.getLogger("rubato.ledger")

SOME = 500  # tasks that one move takes up
PATROL = 30.0  # seconds between two looks for what was forgotten
PAUSE = 1.0  # seconds after a failure
GRAIN = 0.02  # seconds in which what becomes due is taken up together
GLANCE = 0.5  # seconds between two looks at the clock, which somebody may set


class Chores:
    """Loops beside the ticks; `noted` hears of each commit."""

    def __init__(self, ticks: Ticks, store: Store, clock: Clock) -> None:
        self._ticks = ticks
        self._store = store
        self._clock = clock
        self._due = asyncio.Event()  # there may be an earlier moment than the one waited for
        self._family = asyncio.Event()
        self._untold: dict[Ref, Task] = {}
        self._parents: dict[Ref, None] = {}  # whose children are to be canceled
        self._next = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forever(self._keep_time))
            group.create_task(self._forever(self._keep_family))
            group.create_task(self._forever(self._patrol))

    def noted(self, writes: Writes) -> None:
        """What was committed may be to be told, or wait for a moment."""
        for task in writes.pending():
            if task.parent_id is not None and task.ended and not task.told:
                self._untold[task.ref] = task
            if task.children and (task.ended or task.cancel_requested_at is not None):
                self._parents[task.ref] = None
            if (task.run_at or task.deadline is not None) and (moment := _moment(task)) < self._next:
                self._next = moment
                self._due.set()
        if self._untold or self._parents:
            self._family.set()

    async def _forever(self, chore: Any) -> None:
        while True:
            try:
                await chore()
            except Unavailable as error:
                log.warning("the ledger's own work waits: %s", error)
                await asyncio.sleep(PAUSE)
            except Exception:
                log.exception("the ledger's own work failed, and is tried again")
                await asyncio.sleep(PAUSE)

    async def _keep_time(self) -> None:
        """Wake and end what is due, then sleep until the next moment."""
        woken = await self._ticks.move(_wake, lambda store, _: store.wakes(self._clock.now(), SOME))
        ended = await self._ticks.move(_overdue, lambda store, _: store.overdue(self._clock.now(), SOME))
        if max(woken, ended) == SOME:
            return
        self._next = math.inf
        moments = [at for at in await self._store.alarms() if at is not None]
        self._next = min([*moments, self._next])
        await asyncio.sleep(GRAIN)
        while (left := self._next - self._clock.now()) > 0:
            await self._until_earlier(min(left, GLANCE))

    async def _until_earlier(self, seconds: float) -> None:
        """Returns then, or as soon as an earlier moment is noted."""
        self._due.clear()
        alarm = asyncio.get_running_loop().call_later(seconds, self._due.set)
        await self._due.wait()
        alarm.cancel()

    async def _keep_family(self) -> None:
        await self._family.wait()
        self._family.clear()
        untold, self._untold = self._untold, {}
        parents, self._parents = self._parents, {}
        try:
            await self._tell(list(untold.values()))
            for parent in parents:
                await self._cancel_children(parent)
        except BaseException:
            self._untold = untold | self._untold
            self._parents = parents | self._parents
            self._family.set()
            raise

    async def _patrol(self) -> None:
        """Find what an earlier ledger did not come to."""
        await self._tell(await self._store.untold(SOME))
        for parent in await self._store.orphans(SOME):
            await self._cancel_children(parent.ref)
        await asyncio.sleep(PATROL)

    async def _tell(self, children: list[Task]) -> None:
        while children:
            some = cut(children[:SOME], weight)
            children = children[len(some) :]
            refs = list({ref for child in some for ref in (child.ref, (child.tenant, child.parent_id or ""))})

            def tell(book: Book, known: dict[Ref, Task], some: list[Task] = some) -> None:
                tell_parents(book, some, known)

            await self._ticks.move(tell, lambda store, _, refs=refs: store.many(refs))  # type: ignore[misc]

    async def _cancel_children(self, parent: Ref) -> None:
        async def family(store: Store, _: bool) -> tuple[Task | None, list[Task]]:
            return await store.task(*parent), await store.children(*parent, SOME)

        while await self._ticks.move(_cancel, family):
            continue


def _moment(task: Task) -> float:
    """When the clock would do something to this task, inf for never."""
    moments = []
    if task.state == State.WAITING and task.run_at:
        moments.append(task.run_at)
    if task.deadline is not None and task.state in (State.QUEUED, State.WAITING):
        moments.append(task.deadline)
    return min(moments, default=math.inf)


def _wake(book: Book, tasks: list[Task]) -> int:
    wake_due(book, tasks)
    return len(tasks)


def _overdue(book: Book, tasks: list[Task]) -> int:
    end_overdue(book, tasks)
    return len(tasks)


def _cancel(book: Book, family: tuple[Task | None, list[Task]]) -> int:
    parent, children = family
    return len(children) if cancel_children(book, parent, children) else 0  # else it would look again for ever
