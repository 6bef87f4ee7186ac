"""Every row of a ledger, table by table: what one kind of store hands to another."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .apikeys import ApiKey
from .limits import Rule
from .schedule import Schedule
from .sessions import Session
from .store import EventRow, KeyRow, Reference, SignalRow, StepRow
from .task import Task

PAGE = 2000  # rows that are handed over at once

Row = Sequence[Any]
Tell = Callable[[int, int], None]  # rows that are handed over, of how many


class Table(NamedTuple):
    """A table as every store has it, and the columns that tell one row from another, in their order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


TABLES = (  # all but the owner: who that is, each store decides for itself
    Table("task", Task._fields, ("tenant", "id")),
    Table("step", StepRow._fields, ("tenant", "task", "name", "key")),
    Table("event", EventRow._fields, ("tenant", "task", "seq")),
    Table("signal", SignalRow._fields, ("tenant", "task", "number")),
    Table("idempotency", KeyRow._fields, ("tenant", "route", "key")),
    Table("limit_rule", Rule._fields, ("tenant", "key")),
    Table("schedule", Schedule._fields, ("tenant", "name")),
    Table("api_key", ApiKey._fields, ("tenant", "id")),
    Table("session", Session._fields, ("tenant", "agent", "id")),
    Table("reference", Reference._fields, ("tenant", "sha256", "task")),
    Table("tally", ("agent", "state", "number"), ("agent", "state")),
    Table("lane", ("agent", "lane", "state", "number"), ("agent", "lane", "state")),
)


class Rows(Protocol):
    """The rows of a store at one moment, or of one that is being filled."""

    async def count(self, table: Table) -> int:
        """How many there are, about."""

    def pages(self, table: Table) -> AsyncIterator[list[Any]]:
        """All of them in the order of their key, at most PAGE at once."""

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Rows that are not there yet."""


async def hand_over(source: Rows, target: Rows, tell: Tell) -> None:
    """Give all rows of one store to another, which has none."""
    total = sum([await source.count(table) for table in TABLES])
    done = 0
    for table in TABLES:
        async for page in source.pages(table):
            await target.add(table, page)
            done += len(page)
            tell(done, max(done, total))


def selected(table: Table) -> str:
    """The query for all rows of a table."""
    return f"select {','.join(table.columns)} from {table.name} order by {','.join(table.key)}"


class SqliteRows:
    """Those of a SQLite file; what is added is the caller's to commit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    async def count(self, table: Table) -> int:
        return int(self._db.execute(f"select count(*) from {table.name}").fetchone()[0])

    async def pages(self, table: Table) -> AsyncIterator[list[Any]]:
        found = self._db.execute(selected(table))
        while page := found.fetchmany(PAGE):
            yield page

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        places = ",".join("?" * len(table.columns))
        self._db.executemany(f"insert into {table.name} ({','.join(table.columns)}) values ({places})", rows)
