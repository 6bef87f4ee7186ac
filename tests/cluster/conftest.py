"""What tests of a ledger and of its door may ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.ledger import Ledger

from .callers import ShakyStore, opened, running
from .desk import HOST, Desk, Raw
from .making import ManualClock
from .proxy import Proxy


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store() -> ShakyStore:
    return await opened()


@pytest.fixture
async def ledger(store: ShakyStore, clock: ManualClock) -> AsyncIterator[Ledger]:
    async with running(store, clock) as ledger:
        yield ledger


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    made.gate.set()
    made.doorway.close()
    await asyncio.sleep(0)
    if made.doorway.running:
        await asyncio.wait(made.doorway.running)


@pytest.fixture
async def stranger(desk: Desk) -> AsyncIterator[Raw]:
    raw = Raw(await desk.doorway.open(HOST))
    await raw.connect()
    yield raw
    raw.writer.close()


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """In front of a database with nothing in it."""
    async with Proxy(postgres_url) as proxy:
        yield proxy
