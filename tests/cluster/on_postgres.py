"""Stores in a PostgreSQL, as tests take and open them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from cluster.postgres import PostgresStore
from cluster.store import Owner
from cluster.stores import store_at

from .proxy import Proxy


def take(url: str, *, create: bool = True, expect: str = "") -> Owner:
    """As `up` does it, in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: store_at(url).take(create=create, expect=expect)).result()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    """A store that was taken just now."""
    owner = await asyncio.to_thread(take, url)
    store = PostgresStore(url)
    await store.open(owner.store_id, owner.generation)
    yield store
    await store.close()


@pytest.fixture
async def proxied(proxy: Proxy) -> AsyncIterator[PostgresStore]:
    """A store that was taken just now, whose connections go through the proxy."""
    async with opened(proxy.url) as store:
        yield store


async def say(url: str, *statements: str) -> list[Any]:
    """What the last of these statements brings."""
    connection = await asyncpg.connect(url)
    try:
        answers: list[list[Any]] = [await connection.fetch(statement) for statement in statements]
        return answers[-1]
    finally:
        await connection.close()


@asynccontextmanager
async def held(url: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's transaction, which holds what these statements lock."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        for statement in statements:
            await connection.execute(statement)
        yield connection
    await connection.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


async def waiting(url: str, number: int = 1) -> None:
    """Returns once so many backends wait for a lock."""
    query = "select count(*) from pg_stat_activity where wait_event_type='Lock' and datname=current_database()"

    async def wait() -> bool:
        return int((await say(url, query))[0][0]) >= number

    await until(wait)


async def backends(url: str) -> int:
    query = (
        "select count(*) from pg_stat_activity where application_name='rubato' and datname=current_database()"
        " and state='active'"
    )
    return int((await say(url, query))[0][0])


async def tick(url: str) -> int:
    return int((await say(url, "select tick from owner"))[0][0])
