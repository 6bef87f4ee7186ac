"""The one connection that writes: a session of the store, which whoever connects next takes over.

What an earlier connection still has in flight demands its own session, so it can change nothing any more: a commit
whose answer was lost has happened by then, or never will.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from agents.ids import new_id

from .errors import Fenced, StoreProblem, Unavailable
from .postgres_link import BY_INDEX, TROUBLES, Address, Connector, away, is_lost, sentence
from .postgres_schema import is_current, prepare
from .postgres_writes import Load, fits, loads, page_statement, pages, statement
from .store import Owner, StoreFailed, Writes, check_resume, next_owner

log = logging.getLogger("rubato.store")

UNKNOWN = 10.0  # seconds in which a commit that may have happened is asked after
PAUSE = 0.1  # seconds between tries to reach the server

_OWNER = "select store_id, generation, tick from owner"
_TAKE_OVER = (
    "update owner set session=$3 where store_id=$1 and generation=$2 and ($4::text[] is null or session=any($4))"
    " returning tick"
)
# Says that a ledger has the store open: other ledgers may open it too, and each fences those before; a restore may not.
_HOLD = "select pg_advisory_lock_shared(7822117, hashtext(current_schema()))"
IS_FREE = "select pg_try_advisory_xact_lock(7822117, hashtext(current_schema()))"
_STATE = "select current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_encoding')"


@dataclass(frozen=True, slots=True)
class _Session:
    """A connection that may write, and what was prepared on it."""

    id: str
    connection: Any
    prepared: dict[str, Any] = field(default_factory=dict)

    async def run(self, query: str, *values: Any) -> None:
        found = self.prepared.get(query)
        if found is None:
            found = self.prepared[query] = await self.connection.prepare(query)
        await found.fetch(*values)


class Writer:
    """Commits ticks, in whichever session there is."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connector = Connector(address, BY_INDEX)
        self._owner = Owner("", 0, 0)
        self._session: _Session | None = None
        self._known: list[str] = []  # sessions the store may be in: our last one, and those of which we never heard
        self._connecting = asyncio.Lock()
        self._in_flight = False  # a commit of ours may have happened: the store may be a tick further than we know
        self._strange = False  # it was found at another tick than we left it at

    async def take(self, *, create: bool, expect: str) -> Owner:
        """A new generation. Raises StoreProblem, Unavailable."""
        connection = await self._connect()
        with self._or_ended(connection):
            await self._prepare(connection, create=create)
            async with asyncio.timeout(self._address.patience), connection.transaction():
                owner = next_owner(await _read_owner(connection, "for update"), expect)
                await connection.execute("delete from owner")
                await connection.execute("insert into owner values ($1,$2,$3,'')", *owner)
        connection.terminate()
        return owner

    async def open(self, store_id: str, generation: int) -> Owner:
        """Resume this generation. Raises StoreProblem, Fenced, Unavailable."""
        connection = await self._connect()
        with self._or_ended(connection):
            await self._prepare(connection, create=False)
            async with asyncio.timeout(self._address.patience):
                self._owner = check_resume(await _read_owner(connection), store_id, generation)
        await self._take_over(connection, None)
        return self._owner

    async def session(self) -> _Session:
        """The session, begun anew where its connection is lost. Raises Fenced, Unavailable."""
        if self._session is None or self._session.connection.is_closed():
            async with self._connecting:
                if self._session is None or self._session.connection.is_closed():
                    await self._begin()
        assert self._session is not None
        return self._session

    async def commit(self, writes: Writes) -> None:
        """As Store.commit."""
        session = await self.session()
        if self._strange:
            self._strange = False
            raise StoreFailed("the store is not as this ledger knew it; its server may have been replaced by another")
        tick = self._owner.tick
        self._in_flight = True
        try:
            async with asyncio.timeout(self._address.patience):
                await self._write(session, loads(writes))
        except asyncpg.DivisionByZeroError:
            raise Fenced(f"the store has another owner than {self._owner}") from None
        except TROUBLES as error:
            if not is_lost(session.connection, error):
                self._in_flight = False
                raise StoreFailed(sentence(error)) from None
            session.connection.terminate()
            if not await self._has_happened(tick, error):
                raise StoreFailed(f"the connection was lost before it: {sentence(error)}") from None
        except BaseException:
            session.connection.terminate()
            raise
        self._in_flight = False
        self._owner = self._owner._replace(tick=tick + 1)

    def close(self) -> None:
        """Safe to call twice."""
        self._connector.close()
        if self._session is not None:
            self._session.connection.terminate()

    async def _begin(self) -> None:
        try:
            connection = await self._connect()
        except StoreProblem as error:  # it was none when we opened the store: it may pass
            raise Unavailable(str(error)) from None
        tick = self._owner.tick
        await self._take_over(connection, self._known)
        self._strange |= self._owner.tick != tick and not self._in_flight
        self._in_flight = False

    async def _take_over(self, connection: Any, known: list[str] | None) -> None:
        """Begin a session on this connection, in the place of one of these (None: of any)."""
        id = new_id()
        before = None if known is None else list(known)
        self._known.append(id)  # even if we never hear of it
        with self._or_ended(connection):
            async with asyncio.timeout(self._address.patience):
                await connection.execute(_HOLD)
                row = await connection.fetchrow(_TAKE_OVER, *self._owner[:2], id, before)
            if row is None:
                raise Fenced(
                    f"a newer owner than generation {self._owner.generation}, or another ledger, has the store"
                )
        self._session = _Session(id, connection)
        self._known = [id]
        self._owner = self._owner._replace(tick=row[0])

    async def _has_happened(self, tick: int, why: Exception) -> bool:
        """Whether the commit after this tick has happened. Raises Unavailable where that stays unknown."""
        log.warning("a commit was not answered, asking what became of it: %s", sentence(why))
        ends = time.monotonic() + UNKNOWN
        while True:
            try:
                await self.session()
            except Unavailable:
                if time.monotonic() > ends:
                    raise
                await asyncio.sleep(PAUSE)
            else:
                return self._owner.tick == tick + 1

    async def _connect(self) -> Any:
        """A connection whose commits last. Raises StoreProblem, Unavailable."""
        connection = await self._connector.connect()
        with self._or_ended(connection):
            async with asyncio.timeout(self._address.patience):
                fsync, synchronous, encoding = await connection.fetchrow(_STATE)
                if synchronous == "off":
                    await connection.execute("set synchronous_commit=on")
            self._check(fsync, encoding)
        return connection

    def _check(self, fsync: str, encoding: str) -> None:
        """Raises StoreProblem where nothing may be kept."""
        if encoding != "UTF8":
            raise StoreProblem(f"the database keeps texts as {encoding}; make one with encoding 'UTF8'")
        if fsync == "off":
            forgets = "the server runs with fsync=off, and forgets what it acknowledged when its machine fails"
            if not self._address.forgetful:
                raise StoreProblem(f"{forgets}; turn it on, or write fsync=off in the URL where that does not matter")
            log.warning(forgets)

    async def _prepare(self, connection: Any, *, create: bool) -> None:
        async with asyncio.timeout(self._address.patience):
            if await is_current(connection):
                return
        async with connection.transaction():
            await connection.execute("set local statement_timeout=0")  # a large store may take its time
            await prepare(connection, create=create)

    @contextmanager
    def _or_ended(self, connection: Any) -> Iterator[None]:
        """What goes wrong ends the connection, and is Unavailable where it is the driver that says so."""
        try:
            yield
        except BaseException as error:
            connection.terminate()
            if isinstance(error, TROUBLES):
                raise away(self._address, error) from None
            raise

    async def _write(self, session: _Session, found: list[Load]) -> None:
        owner = (*self._owner, session.id)
        if fits(found):
            await session.run(statement(tuple(load.part for load in found)), *owner, *(load.rows for load in found))
            return
        await session.connection.execute("begin")
        try:
            await session.run(statement(()), *owner)
            for load in found:
                for page in pages(load):
                    await session.run(page_statement(load.part), page.rows)
            await session.connection.execute("commit")
        except asyncpg.PostgresError as error:
            if not is_lost(session.connection, error):
                await session.connection.execute("rollback")
            raise


async def _read_owner(connection: Any, rest: str = "") -> Owner | None:
    row = await connection.fetchrow(f"{_OWNER} {rest}")
    return Owner(*row) if row else None
