"""A ledger in a PostgreSQL database: copied into a file at one moment, and put into a database from one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from .errors import StoreProblem
from .postgres_link import TROUBLES, Connector, read_url, sentence
from .postgres_schema import OURS, ROWS, is_current, prepare, version
from .postgres_writer import IS_FREE
from .rows import PAGE, TABLES, Row, SqliteRows, Table, Tell, hand_over, selected

PATIENCE = 20  # looks, a tenth of a second apart, for a ledger that has just ended to be gone from the server too
_SETTINGS = {"statement_timeout": "0", "lock_timeout": "10000", "synchronous_commit": "on"}


class PostgresRows:
    """Those of a database, over a connection that is in a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def count(self, table: Table) -> int:
        return int(await self._connection.fetchval(f"select count(*) from {table.name}"))

    async def pages(self, table: Table) -> AsyncIterator[list[Any]]:
        found = await self._connection.cursor(selected(table))
        while page := await found.fetch(PAGE):
            yield [tuple(row) for row in page]

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        await self._connection.copy_records_to_table(table.name, records=rows, columns=table.columns)


async def save(where: str, db: sqlite3.Connection, tell: Tell) -> None:
    """Fill an empty ledger's file with what a database holds at one moment; whoever has it open goes on meanwhile.

    Raises StoreProblem, Unavailable.
    """
    async with _connected(where) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        if not await is_current(connection):
            raise StoreProblem("the database is empty, or of an earlier version, which `./rubato up` brings forward")
        owner = await connection.fetchrow("select store_id, generation, tick from owner")
        db.execute("insert into owner values (?,?,?)", tuple(owner))
        await hand_over(PostgresRows(connection), SqliteRows(db), tell)


async def load(where: str, db: sqlite3.Connection, store_id: str, aside: str, tell: Tell) -> bool:
    """Give a database all that a ledger's file holds, or nothing of it, as a store of that id.

    A ledger that the database has is kept, in a schema of the name `aside`; whether there was one. Raises
    StoreProblem, Unavailable.
    """
    async with _connected(where) as connection:
        async with connection.transaction():
            await _let_go(connection)
            moved = await _move(connection, aside)
            await prepare(connection, create=True)
            await hand_over(SqliteRows(db), PostgresRows(connection), tell)
            (generation,) = db.execute("select generation from owner").fetchone()
            await connection.execute("insert into owner values ($1,$2,0,'')", store_id, generation)
        await connection.execute(f"analyze {','.join(table.name for table in TABLES)}")
    return moved


async def _let_go(connection: Any) -> None:
    """Returns once no ledger has the database open. Raises StoreProblem where one has it for good."""
    for _ in range(PATIENCE):
        if await connection.fetchval(IS_FREE):
            return
        await asyncio.sleep(0.1)
    raise StoreProblem("another ledger has the database open; `./rubato down` ends it")


async def _move(connection: Any, aside: str) -> bool:
    """Move what is ours out of the way. Raises StoreProblem where it is not ours, or of a newer Rubato."""
    if await version(connection) is None:
        return False
    await connection.execute(f"create schema {aside}")
    for name in ROWS:
        await connection.execute(f"drop type if exists {name}")
    for table in OURS:
        await connection.execute(f"alter table {table} set schema {aside}")
    return True


@asynccontextmanager
async def _connected(where: str) -> AsyncIterator[Any]:
    """A connection for as long as it takes; what the driver raises is a StoreProblem."""
    address = read_url(where)
    try:
        connection = await Connector(address, _SETTINGS).connect()
        try:
            yield connection
        finally:
            connection.terminate()
    except StoreProblem as problem:
        raise StoreProblem(f"{address.shown}: {problem}") from None
    except TROUBLES as error:
        raise StoreProblem(f"{address.shown}: {sentence(error)}") from error
