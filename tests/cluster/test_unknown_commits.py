"""A COMMIT whose answer is an error may have happened: the store finds out before it says anything."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from cluster import sqlite
from cluster.sqlite import SqliteStore
from cluster.store import StoreFailed

from .making import task
from .rows import new


class Unsure:
    """A connection whose COMMIT fails, before it did anything or after, and which then cannot read for a while."""

    def __init__(self, db: sqlite3.Connection, *, happens: bool, blind: int) -> None:
        self._db = db
        self._happens = happens
        self._blind = blind
        self.failed = False

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self.failed and self._blind:
            self._blind -= 1
            raise sqlite3.OperationalError("disk I/O error")
        if statement == "commit" and not self.failed:
            self.failed = True
            if self._happens:
                self._db.execute("commit")
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(statement, values)

    def executemany(self, statement: str, rows: Sequence[Any]) -> sqlite3.Cursor:
        return self._db.executemany(statement, rows)


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    monkeypatch.setattr(sqlite, "_READ_PAUSE", 0.001)
    owner = SqliteStore(tmp_path / "ledger.db").take(create=True)
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(owner.store_id, owner.generation)
    yield store
    await store.close()


def unsure(store: SqliteStore, *, happens: bool, blind: int) -> None:
    store._db = cast(sqlite3.Connection, Unsure(store._connections[0], happens=happens, blind=blind))


@pytest.mark.parametrize("blind", [0, 3])
async def test_a_commit_that_happened_is_no_failure(store: SqliteStore, blind: int) -> None:
    unsure(store, happens=True, blind=blind)
    first, second = task(), task()

    await store.commit(new(first))
    await store.commit(new(second))  # as its owner still

    assert [await store.task("", each.id) for each in (first, second)] == [first, second]


@pytest.mark.parametrize("blind", [0, 3])
async def test_a_commit_that_did_not_happen_is_one(store: SqliteStore, blind: int) -> None:
    unsure(store, happens=False, blind=blind)
    first, second = task(), task()

    with pytest.raises(StoreFailed):
        await store.commit(new(first))
    await store.commit(new(second))

    assert [await store.task("", each.id) for each in (first, second)] == [None, second]


async def test_another_owner_at_the_same_tick_is_not_taken_for_oneself(store: SqliteStore) -> None:
    db = store._connections[0]
    unsure(store, happens=False, blind=1)
    original = store._rollback

    def taken() -> None:
        original()
        db.execute("update owner set generation=generation+1, tick=1")

    store._rollback = taken  # type: ignore[method-assign]

    with pytest.raises(StoreFailed):
        await store.commit(new(task()))
