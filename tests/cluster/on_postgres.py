"""Stores in a PostgreSQL, as tests take and open them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from cluster.postgres import PostgresStore
from cluster.store import Owner
from cluster.stores import store_at


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


async def say(url: str, *statements: str) -> list[Any]:
    """What the last of these statements brings."""
    connection = await asyncpg.connect(url)
    try:
        answers: list[list[Any]] = [await connection.fetch(statement) for statement in statements]
        return answers[-1]
    finally:
        await connection.close()
