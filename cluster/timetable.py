"""Schedules at work: a loop beside the ticks that creates each task at its time, and what callers may do to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from .alarms import Alarms
from .book import Book, Clock
from .errors import Unavailable
from .moves import Needs
from .schedule import Policy, Schedule, due, firing, pause, placed, task_of
from .steering import cancel
from .store import Store, Writes
from .task import Ref, Task
from .ticks import Ticks

log = logging.getLogger("rubato.ledger")

UNENDED = 1000  # tasks of a schedule that are looked at, and canceled, at once
TOGETHER = 20  # schedules that may go into one tick
GRAIN = 0.02  # seconds in which what becomes due is taken up together
GLANCE = 0.5  # seconds between two looks at the clock, which somebody may set
PAUSE = 1.0  # seconds after a failure
STUCK = 60.0  # seconds until a schedule whose times cannot be told is tried again

Key = tuple[str, str]  # (tenant, name)


class _Found(NamedTuple):
    """What the store has of a schedule, and of its tasks."""

    schedule: Schedule
    unended: list[Task]
    known: dict[Ref, Task]  # those that were created before, where there is cause to ask


class Timetable:
    """The schedules of a ledger; `noted` hears of each commit. Their place in time is in the store, none of it here."""

    def __init__(self, ticks: Ticks, store: Store, clock: Clock, policies: Mapping[str, Policy]) -> None:
        self._ticks = ticks
        self._store = store
        self._clock = clock
        self._policies = policies  # by agent
        self._alarms: Alarms[Key] = Alarms()
        self._holding: set[Key] = set()  # which wait for a task of theirs to end
        self._woken = asyncio.Event()
        self._loaded = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._load()
                await self._until_due()
                await self._look()
            except Unavailable as error:
                log.warning("schedules wait: %s", error)
                await asyncio.sleep(PAUSE)
            except Exception:
                log.exception("schedules could not be looked at, and are tried again")
                await asyncio.sleep(PAUSE)

    def noted(self, writes: Writes) -> None:
        """What was committed may bring an earlier moment."""
        for key, found in writes.schedules.items():
            self._note(key, found)
        if self._holding:
            for task in writes.ended:
                if task.schedule is not None and (task.tenant, task.schedule) in self._holding:
                    self._at((task.tenant, task.schedule), 0.0)

    # what callers ask

    async def some(self, tenant: str, after: str, limit: int) -> list[Schedule]:
        """At most `limit` schedules of the tenant by name, from the one after that name on."""
        found = sorted(await self._store.schedules(tenant), key=lambda schedule: schedule.name)
        return [schedule for schedule in found if schedule.name > after][:limit]

    async def put(self, asked: Schedule, paused: bool | None) -> tuple[Schedule, bool]:
        """The schedule as it is kept, and whether it is new."""

        def apply(book: Book, stored: Schedule | None) -> tuple[Schedule, bool]:
            old = _seen(book, (asked.tenant, asked.name), stored)
            kept = placed(asked, old, paused, book.clock.now())
            _keep(book, kept, old)
            return kept, old is None

        stored = _stored((asked.tenant, asked.name))
        return cast(tuple[Schedule, bool], await self._ticks.ask(apply, stored, characters=len(asked.input)))

    async def delete(self, tenant: str, name: str) -> bool:
        """Whether there was one. The tasks that it created go on."""

        def apply(book: Book, stored: Schedule | None) -> bool:
            found = _seen(book, (tenant, name), stored)
            if found is not None:
                book.writes.schedules[tenant, name] = None
            return found is not None

        return cast(bool, await self._move((tenant, name), apply))

    async def pause(self, tenant: str, name: str, paused: bool) -> Schedule | None:
        """The schedule, paused or going on; None if there is none."""

        def apply(book: Book, stored: Schedule | None) -> Schedule | None:
            old = _seen(book, (tenant, name), stored)
            kept = old and pause(old, paused, book.clock.now())
            if kept is not None:
                _keep(book, kept, old)
            return kept

        return cast(Schedule | None, await self._move((tenant, name), apply))

    # the loop

    async def _load(self) -> None:
        if not self._loaded:
            for schedule in await self._store.schedules(None):
                self._note((schedule.tenant, schedule.name), schedule)
            self._loaded = True

    async def _until_due(self) -> None:
        """Returns as soon as a schedule is to be looked at, by a clock that may be set meanwhile."""
        while True:
            self._woken.clear()
            at = self._alarms.next()
            left = None if at is None else at - self._clock.now()
            if left is not None and left <= 0:
                return
            alarm = None if left is None else asyncio.get_running_loop().call_later(min(left, GLANCE), self._woken.set)
            await self._woken.wait()
            if alarm is not None:
                alarm.cancel()

    async def _look(self) -> None:
        await asyncio.sleep(GRAIN)
        keys = list(self._alarms.due(self._clock.now()))
        for start in range(0, len(keys), TOGETHER):
            some = keys[start : start + TOGETHER]
            outcomes = await asyncio.gather(*map(self._fire, some), return_exceptions=True)
            for key, outcome in zip(some, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    log.warning("schedule %s waits: %s", key[1], outcome)
                    self._at(key, self._clock.now() + PAUSE)

    async def _fire(self, key: Key) -> None:
        """Do what is due of one schedule, in one move: its tasks and its next time are stored together or not."""

        async def needs(store: Store, careful: bool) -> _Found | None:
            schedule = await store.schedule(*key)
            if schedule is None:
                return None
            unended = [] if schedule.overlap == "allow" else await store.of_schedule(*key, UNENDED)
            known = await store.many(_refs(schedule, self._clock.now())) if careful else {}
            return _Found(schedule, unended, known)

        def apply(book: Book, found: _Found | None) -> float | None:
            if found is None or key in book.writes.schedules:  # what this tick changes is noted, and looked at again
                return None
            try:
                return _do(book, found, self._policies.get(found.schedule.agent))
            except Exception:  # one schedule that the cron library cannot do must not hold up all of a tick
                log.exception("the times of schedule %s cannot be told", key[1])
                return book.clock.now() + STUCK

        next_at: float | None = await self._ticks.move(apply, needs)
        if next_at is not None:
            self._at(key, next_at)

    def _note(self, key: Key, found: Schedule | None) -> None:
        self._holding.discard(key)
        if found is None or found.paused:
            return
        if found.held_at is not None:
            self._holding.add(key)
            self._at(key, 0.0)  # what it waits for may have ended already
        if found.next_at is not None:
            self._at(key, found.next_at)

    def _at(self, key: Key, moment: float) -> None:
        self._alarms.set(key, moment)
        self._woken.set()

    async def _move(self, key: Key, apply: Any) -> Any:
        return await self._ticks.move(apply, _stored(key))


class Scheduling:
    """What a ledger lets callers do to schedules."""

    _reads: Store
    _timetable: Timetable

    async def schedules(self, tenant: str, after: str, limit: int) -> list[Schedule]:
        """At most `limit` schedules of the tenant by name, from the one after that name on."""
        return await self._timetable.some(tenant, after, limit)

    async def schedule(self, tenant: str, name: str) -> Schedule | None:
        """The schedule, None if this tenant has none of that name."""
        return await self._reads.schedule(tenant, name)

    async def put_schedule(self, schedule: Schedule, paused: bool | None) -> tuple[Schedule, bool]:
        """The schedule as it is kept from now on, and whether it is new; `paused` None leaves that as it was."""
        return await self._timetable.put(schedule, paused)

    async def delete_schedule(self, tenant: str, name: str) -> bool:
        """Whether there was one. The tasks that it created go on."""
        return await self._timetable.delete(tenant, name)

    async def pause_schedule(self, tenant: str, name: str, paused: bool) -> Schedule | None:
        """The schedule, paused or going on from now on; None if there is none."""
        return await self._timetable.pause(tenant, name, paused)


def _do(book: Book, found: _Found, policy: Policy | None) -> float | None:
    """Do what is due. It brings the moment to look again."""
    going = _going(book, found)
    outcome = firing(found.schedule, book.clock.now(), len(going))
    tasks = [task_of(found.schedule, at, policy, book.clock.now()) for at in outcome.times]
    for task in going if outcome.cancel else ():
        cancel(book, task.ref, task)
    for task in tasks:
        if book.look(task.ref, found.known.get(task.ref)) is None:
            book.accept(task)
    if outcome.dropped:
        log.info("schedule %s: %d times without a task, its last has not ended", found.schedule.name, outcome.dropped)
    _keep(book, outcome.schedule, found.schedule)
    return None if outcome.schedule.paused else outcome.schedule.next_at


def _going(book: Book, found: _Found) -> list[Task]:
    """Its tasks that have not ended, as this tick has them so far."""
    schedule = found.schedule
    if schedule.overlap == "allow":
        return []
    own = [task for task in book.writes.pending() if (task.tenant, task.schedule) == (schedule.tenant, schedule.name)]
    seen = [book.look(ref, task) for ref, task in {task.ref: task for task in (*found.unended, *own)}.items()]
    return [task for task in seen if task is not None and not task.ended]


def _refs(schedule: Schedule, now: float) -> list[Ref]:
    """The tasks that may be created for it now."""
    times = [*due(schedule, now)[0], *(() if schedule.held_at is None else (schedule.held_at,))]
    return [task_of(schedule, at, None, now).ref for at in times]


def _stored(key: Key) -> Needs:
    return lambda store, _: store.schedule(*key)


def _seen(book: Book, key: Key, stored: Schedule | None) -> Schedule | None:
    return book.writes.schedules.get(key, stored)


def _keep(book: Book, schedule: Schedule, old: Schedule | None) -> None:
    if schedule != old:
        book.writes.schedules[schedule.tenant, schedule.name] = schedule
