"""A ledger with schedules that a test drives by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cluster import timetable
from cluster.book import Clock
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.schedule import Policy, Schedule, Template, write
from cluster.task import Filter, Options, Task
from cluster.terms import Terms

from .callers import settled
from .keeping_contract import schedule
from .making import ManualClock

NOON = 1_000_080_000.0 - 1_000_080_000 % 86400 + 43200  # of some day, in UTC
HOUR, MINUTE = 3600.0, 60.0
POLICIES = {"echo": Policy("v7", 60.0, 3)}


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a clock that is moved by hand looked at all the time."""
    monkeypatch.setattr(timetable, "GLANCE", 0.002)
    monkeypatch.setattr(timetable, "GRAIN", 0.0)
    monkeypatch.setattr(timetable, "PAUSE", 0.01)


@asynccontextmanager
async def running(store: MemoryStore, clock: ManualClock) -> AsyncIterator[Ledger]:
    """Hours may pass on the wall within a lease."""
    ledger = Ledger(store, Clock(lambda: clock.time, lambda: 0.0), terms=Terms(POLICIES))
    loop = asyncio.create_task(ledger.run())
    yield ledger
    loop.cancel()
    await asyncio.wait([loop])


def hourly(**changes: Any) -> Schedule:
    template = write(Template(Options(), Policy("v1", 5.0, 1)))
    return schedule(**{"name": "hourly", "cron": "0 * * * *", "template": template, "next_at": None, **changes})


async def tasks(ledger: Ledger, tenant: str = "") -> list[Task]:
    """All of them, the oldest first."""
    return list(reversed(await ledger.tasks(tenant, Filter(), None, 10_000)))


async def times(ledger: Ledger) -> list[float]:
    """Hours after noon for which there are tasks."""
    return [(found.run_at - NOON) / HOUR for found in await tasks(ledger)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it holds."""
    async with asyncio.timeout(5):
        while not await condition():
            await asyncio.sleep(0.001)


async def passed(ledger: Ledger, name: str = "hourly", tenant: str = "") -> None:
    """Returns once the schedule has nothing due any more."""

    async def nothing_is_due() -> bool:
        found = await ledger.schedule(tenant, name)
        return found is None or found.next_at is None or found.next_at > ledger._clock.now()

    await until(nothing_is_due)
    await settled()


async def has(expected: list[float], ledger: Ledger) -> None:
    """Returns once there are tasks for these hours after noon, and no others."""

    async def there_are() -> bool:
        return await times(ledger) == expected

    await until(there_are)
