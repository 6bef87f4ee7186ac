"""SQLite on a disk that loses what was not synced: when the last ledger that has it open dies, the power goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from cluster.store import Store

from .disks import Brittle, BrittleSqlite, SqliteDisk
from .power import POWER, Connection
from .trouble import Trouble

PAGES = 8  # of the log, until they are written to the database itself: a few, so that this happens


class PowerLost(BaseException):
    """The machine is down: whoever ran on it runs no line more."""


class CutDisk(SqliteDisk):
    """One database on such a disk."""

    def __init__(self, trouble: Trouble, folder: Path) -> None:
        super().__init__(trouble, folder)
        self._folder = folder
        self._left: Path | None = None  # what the cut that has just been left
        POWER.adopt(self._path)

    @property
    def is_shared(self) -> bool:
        """Whether ledgers of two generations have it open: one of them dies without its machine."""
        return sum(store.is_open for store in self._opened) > 1

    def crash(self, store: Store) -> None:
        if not self.is_shared:
            self._cut()
        super().crash(store)
        if self._left is not None:
            POWER.forget(self._path)
            self._remove()
            self._path, self._left = self._left, None
            POWER.adopt(self._path)

    def close(self) -> None:
        super().close()
        POWER.forget(self._path)

    @contextmanager
    def cut_at(self, change: int) -> Iterator[None]:
        """The power goes just before this change to the disk that is made inside, if it is made."""

        def look() -> None:
            nonlocal change
            if change == 0:
                self._cut()
            change -= 1

        POWER.before_change = look
        try:
            yield
        finally:
            POWER.before_change = lambda: None

    def tick_left(self) -> int | None:
        """The tick of what the cut has left; None where there was no cut."""
        if self._left is None:
            return None
        db = Connection(self._left)
        try:
            return int(db.execute("select tick from owner").fetchone()[0])
        finally:
            db.close()

    def _cut(self) -> None:
        if self._left is None:
            self._left = self._folder / f"{next(self._numbers)}.db"
            POWER.cut(self._path, self._trouble.keeps(), self._left)

    def _store(self) -> BrittleSqlite:
        return CutSqlite(self._path, self._trouble, self)

    def _connect(self) -> sqlite3.Connection:
        return _connection(self._path)


class CutSqlite(BrittleSqlite):
    """The SQLite store on such a disk."""

    def __init__(self, path: Path, trouble: Trouble, disk: CutDisk) -> None:
        super().__init__(path, trouble)
        self.disk = disk

    def cut(self, db: sqlite3.Connection, change: int) -> None:
        """Commit, and be cut at this change to the disk; a commit that makes fewer is one as any other."""
        assert self._owner is not None
        with self.disk.cut_at(change):
            db.execute("commit")
        tick = self.disk.tick_left()
        if tick is None or tick == self._owner.tick + 1:
            self.committed()
        if tick is not None:
            self._trouble.power_lost(self._owner.generation)
            raise PowerLost

    def _connect(self) -> None:
        self._connections = [_connection(self._path) for _ in range(3)]
        db, self._reads, self._lists = self._connections
        db.execute(f"pragma wal_autocheckpoint={PAGES}")
        self._db = cast(sqlite3.Connection, CutConnection(db, self, self._trouble))


class CutConnection(Brittle):
    """A connection that may be cut in the middle of a commit."""

    def _commit(self) -> sqlite3.Cursor:
        store = cast(CutSqlite, self._store)
        change = None if store.disk.is_shared else self._trouble.cuts()
        if change is None:
            return super()._commit()
        store.cut(self._db, change)
        return cast(sqlite3.Cursor, None)  # nobody asks a commit for rows


def _connection(path: Path) -> sqlite3.Connection:
    db = cast(sqlite3.Connection, Connection(path))
    db.execute("pragma busy_timeout=0")
    return db
