"""Ledger and workers together over a PostgreSQL whose connections are cut: nothing is lost, doubled or run again."""

from __future__ import annotations

import asyncio
import random

from cluster.postgres import PostgresStore
from cluster.store import Store
from tests.postgres import OwnServer, drop_database, make_database, make_empty

from .on_postgres import take
from .proxy import Proxy
from .test_together import FAULTS, Chaos, Reopen, check

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


class Killing(Chaos):
    """Kills the whole server once, in the middle, and starts it again a little later."""

    def __init__(self, seed: int, reopen: Reopen, server: OwnServer) -> None:
        super().__init__(seed, reopen)
        self._server = server
        self._kill_at = self.roll.randrange(FAULTS)

    async def _fault(self) -> None:
        if self._kill_at == 0:
            await asyncio.to_thread(self._server.kill)
            await asyncio.sleep(self.roll.random() * 0.5)
            await asyncio.to_thread(self._server.restart)
        self._kill_at -= 1
        await super()._fault()


async def postgres(url: str, way: str) -> Reopen:
    """Stores in the database at `url`, emptied, which go there by `way`."""
    await make_empty(url)
    owner = take(url)

    async def reopen(store: Store | None) -> Store:
        if store is not None:
            await store.close()
        opened = PostgresStore(way)
        await opened.open(owner.store_id, owner.generation)
        return opened

    return reopen


async def test_whatever_crashes_or_is_cut_each_task_ends_once_and_no_recorded_step_runs_again(
    postgres_url: str, proxy: Proxy
) -> None:
    first = random.randrange(2**32)
    for seed in range(first, first + SCHEDULES):
        async with Cutting(seed, await postgres(postgres_url, proxy.url), proxy) as chaos:
            try:
                await check(chaos, await chaos.run())
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error


async def test_a_server_that_is_killed_under_load_loses_and_doubles_nothing(own_postgres: OwnServer) -> None:
    name = "rubato_test_chaos"
    await drop_database(own_postgres, name)
    url = await make_database(own_postgres, name)
    seed = random.randrange(2**32)
    async with Killing(seed, await postgres(url, url), own_postgres) as chaos:
        try:
            await check(chaos, await chaos.run())
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    await drop_database(own_postgres, name)
