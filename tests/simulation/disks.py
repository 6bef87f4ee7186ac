"""What survives a crash: the stores' data, and how a ledger comes to it again."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from cluster.memory import MemoryStore
from cluster.sqlite import SqliteStore
from cluster.store import Owner, Store, StoreFailed, Writes

from .trouble import Trouble


class Disk(Protocol):
    """One store's data, over the lives of its ledgers."""

    owner: Owner

    async def open(self, generation: int) -> tuple[Store, Owner]:
        """As a ledger of this generation opens it. Raises Fenced where a newer one began."""

    def take(self) -> bool:
        """Begin a new generation, while the old one's ledger may live; False where the database is busy."""

    def crash(self, store: Store) -> None:
        """The process that had it open is gone."""

    def close(self) -> None:
        """The schedule is over."""


class Shaken:
    """A store whose every read takes a turn of the loop, and fails where it is told to."""

    def __init__(self, store: Store, trouble: Trouble) -> None:
        self.store = store
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        if name in ("commit", "open", "close"):
            return method

        async def read(*args: Any) -> Any:
            await self._trouble.pause()
            self._trouble.check_read()
            found = await method(*args)
            await self._trouble.pause()
            return found

        return read


class Shared(MemoryStore):
    """One ledger's connection to a memory that others may be connected to, too."""

    def __init__(self, disk: MemoryDisk, trouble: Trouble) -> None:
        self._disk = disk
        self._trouble = trouble
        super().__init__()
        for name, kept in disk.kept.items():
            setattr(self, name, kept)

    @property
    def _owner(self) -> Owner | None:
        return self._disk.owner

    @_owner.setter
    def _owner(self, owner: Owner | None) -> None:
        if owner is not None:
            self._disk.owner = owner

    async def commit(self, writes: Writes) -> None:
        await self._trouble.pause()
        if self._trouble.fails():
            raise StoreFailed("told to")
        await super().commit(writes)
        assert self._opened is not None
        self._trouble.committed(writes, self._opened.generation)
        await self._trouble.pause()


class MemoryDisk:
    """Dicts that outlive the ledgers."""

    def __init__(self, trouble: Trouble) -> None:
        first = MemoryStore()
        self.owner = first.take()
        self.kept = {name: value for name, value in vars(first).items() if isinstance(value, dict | set)}
        self._trouble = trouble

    async def open(self, generation: int) -> tuple[Store, Owner]:
        store = Shared(self, self._trouble)
        owner = await store.open(self.owner.store_id, generation)
        return cast(Store, Shaken(store, self._trouble)), owner

    def take(self) -> bool:
        self.owner = Owner(self.owner.store_id, self.owner.generation + 1, 0)
        return True

    def crash(self, store: Store) -> None:
        return

    def close(self) -> None:
        return


class Brittle:
    """A connection that fails at some statements: before it does what it should, or, where that is COMMIT, after."""

    def __init__(self, db: sqlite3.Connection, store: BrittleSqlite, trouble: Trouble) -> None:
        self._db = db
        self._store = store
        self._trouble = trouble

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if statement == "commit":
            return self._commit()
        if statement != "rollback":
            self._check()
        return self._db.execute(statement, values)

    def executemany(self, statement: str, rows: Sequence[Any]) -> None:
        for row in rows:
            self._check()
            self._db.execute(statement, row)

    def _commit(self) -> sqlite3.Cursor:
        self._check()
        done = self._db.execute("commit")
        self._store.committed()
        self._check()
        return done

    def _check(self) -> None:
        if self._trouble.fails():
            raise sqlite3.OperationalError("told to")


class BrittleSqlite(SqliteStore):
    """The SQLite store over connections that break; no lock file, for ledgers of two generations meet here."""

    def __init__(self, path: Path, trouble: Trouble) -> None:
        super().__init__(path)
        self._trouble = trouble
        self._writes = Writes()

    async def commit(self, writes: Writes) -> None:
        self._writes = writes
        await super().commit(writes)

    def committed(self) -> None:
        assert self._owner is not None
        self._trouble.committed(self._writes, self._owner.generation)

    def _commit(self) -> float:
        super()._commit()
        return self._trouble.takes()

    def crash(self) -> None:
        """The system closes a dead process' files."""
        for connection in self._connections:
            connection.close()
        self._connections = []

    @property
    def is_open(self) -> bool:
        return bool(self._connections)

    def _acquire(self, wait: float) -> None:
        return

    def _connect(self) -> None:
        super()._connect()
        for connection in self._connections:
            connection.execute("pragma busy_timeout=0")
        self._db = cast(sqlite3.Connection, Brittle(self._connections[0], self, self._trouble))


class SqliteDisk:
    """A file, on a memory file system where there is one: no process dies here that could lose what was not synced."""

    _numbers = itertools.count()

    def __init__(self, trouble: Trouble, folder: Path) -> None:
        self._trouble = trouble
        template = folder / "template.db"
        if not template.exists():
            SqliteStore(template).take(create=True)
        self._path = folder / f"{next(self._numbers)}.db"
        shutil.copyfile(template, self._path)
        self._opened: list[BrittleSqlite] = []
        self.owner = self._read_owner()

    async def open(self, generation: int) -> tuple[Store, Owner]:
        store = self._store()
        self._opened.append(store)
        owner = await store.open(self.owner.store_id, generation)
        return cast(Store, Shaken(store, self._trouble)), owner

    def take(self) -> bool:
        db = self._connect()
        try:
            db.execute("update owner set generation=generation+1, tick=0")
        except sqlite3.OperationalError:
            return False
        finally:
            db.close()
        self.owner = self._read_owner()
        return True

    def crash(self, store: Store) -> None:
        cast(BrittleSqlite, cast(Shaken, store).store).crash()

    def close(self) -> None:
        for store in self._opened:
            store.crash()
        self._remove()

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _store(self) -> BrittleSqlite:
        return BrittleSqlite(self._path, self._trouble)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=0, isolation_level=None)

    def _read_owner(self) -> Owner:
        db = self._connect()
        try:
            return Owner(*db.execute("select store_id, generation, tick from owner").fetchone())
        finally:
            db.close()
