"""A PostgreSQL in a schedule: the real store over a real server, each call of it in one moment of virtual time.

The store runs in a loop of its own, which turns until the call is over while the simulated one stands still. So a crash
falls between its calls, and at each commit before the statement is sent or after the server has committed it; there the
connection is lost as often as in life, and the store must find out on a new one what became of the commit.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import asyncpg

from cluster.postgres import PostgresStore
from cluster.postgres_link import read_url
from cluster.postgres_writer import Writer
from cluster.store import Owner, Store, Writes

from .disks import Shaken
from .trouble import Trouble

T = TypeVar("T")


class Elsewhere:
    """The real world's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.outside(lambda: self._loop.run_until_complete(work))

    def outside(self, work: Callable[[], T]) -> T:
        """Do this as if no loop ran."""
        simulated = events._get_running_loop()
        events._set_running_loop(None)
        try:
            return work()
        finally:
            events._set_running_loop(simulated)


class BrittleWriter(Writer):
    """A session that is lost now and then: before a commit is sent, or before its answer comes."""

    def __init__(self, url: str, trouble: Trouble) -> None:
        super().__init__(read_url(url))
        self._trouble = trouble
        self.writes = Writes()

    async def _write(self, session: Any, found: Any) -> None:
        self._may_be_lost(session)
        await super()._write(session, found)
        self._trouble.committed(self.writes, self._owner.generation)
        self._may_be_lost(session)

    def _may_be_lost(self, session: Any) -> None:
        if self._trouble.fails():
            session.connection.terminate()
            raise ConnectionResetError("told to")


class Driven:
    """A store whose every call is over at once."""

    def __init__(self, url: str, trouble: Trouble, real: Elsewhere) -> None:
        self.store = PostgresStore(url)
        self._writer = self.store._writer = BrittleWriter(url, trouble)
        self._trouble = trouble
        self._real = real

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def call(*args: Any) -> Any:
            return self._real.run(method(*args))

        return call

    async def commit(self, writes: Writes) -> None:
        await self._trouble.pause()
        self._writer.writes = writes
        self._real.run(self.store.commit(writes))
        await self._trouble.pause()


class PostgresDisk:
    """A database, which must not be anybody else's."""

    _real = Elsewhere()

    def __init__(self, trouble: Trouble, url: str) -> None:
        self._trouble = trouble
        self._url = url
        self._opened: list[Driven] = []
        self._real.run(self._clear())
        self._begin(create=True)

    async def open(self, generation: int) -> tuple[Store, Owner]:
        store = Driven(self._url, self._trouble, self._real)
        self._opened.append(store)
        owner = await store.open(self.owner.store_id, generation)
        return cast(Store, Shaken(cast(Store, store), self._trouble)), owner

    def take(self) -> bool:
        self._begin(create=False)
        return True

    def crash(self, store: Store) -> None:
        self._real.run(cast(Driven, cast(Shaken, store).store).store.close())

    def close(self) -> None:
        for store in self._opened:
            self._real.run(store.store.close())

    def _begin(self, *, create: bool) -> None:
        self.owner = self._real.outside(lambda: PostgresStore(self._url).take(create=create))

    async def _clear(self) -> None:
        """Leave the tables, which take long to make, and nothing in them."""
        connection = await asyncpg.connect(self._url)
        try:
            found = await connection.fetch(
                "select quote_ident(tablename) from pg_tables where schemaname='public' and tablename<>'rubato'"
            )
            for (name,) in found:
                await connection.execute(f"delete from {name}")
        finally:
            await connection.close()
