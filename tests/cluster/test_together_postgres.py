"""Ledger and workers together over a PostgreSQL whose connections are cut: nothing is lost, doubled or run again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from cluster.postgres import PostgresStore
from cluster.store import Store
from tests.postgres import make_empty

from .on_postgres import take
from .proxy import Proxy
from .test_together import Chaos, Reopen, check

SCHEDULES = 6


class Cutting(Chaos):
    """Cuts all connections to the server now and then, at any moment of a commit or a read."""

    def __init__(self, seed: int, reopen: Reopen, proxy: Proxy) -> None:
        super().__init__(seed, reopen)
        self._proxy = proxy

    async def _fault(self) -> None:
        for _ in range(self.roll.randrange(3)):
            await asyncio.sleep(self.roll.random() * 0.02)
            self._proxy.cut()
        await super()._fault()


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(postgres_url) as proxy:
        yield proxy


async def postgres(url: str, proxy: Proxy) -> Reopen:
    await make_empty(url)
    owner = take(url)

    async def reopen(store: Store | None) -> Store:
        if store is not None:
            await store.close()
        opened = PostgresStore(proxy.url)
        await opened.open(owner.store_id, owner.generation)
        return opened

    return reopen


async def test_whatever_crashes_or_is_cut_each_task_ends_once_and_no_recorded_step_runs_again(
    postgres_url: str, proxy: Proxy
) -> None:
    first = random.randrange(2**32)
    for seed in range(first, first + SCHEDULES):
        async with Cutting(seed, await postgres(postgres_url, proxy), proxy) as chaos:
            try:
                await check(chaos, await chaos.run())
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error
