"""A disk that loses at a power cut what was not synced, or tears it: a file system of SQLite's, by apsw.

SQLite itself is apsw's, and its files are real ones, to which every write goes at once. Beside each is kept what of it
surely survives, which is what was synced, and what was written since: of that any sector may have come to the disk.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from cluster import sqlite

SECTOR = 512
NAME = "power"


class Platter:
    """What is on the disk of one file, and what may be."""

    def __init__(self) -> None:
        self._safe = bytearray()
        self._since: list[tuple[int, bytes | None]] = []  # where, and what was written there; None: it was cut there

    def write(self, offset: int, data: bytes | None) -> None:
        self._since.append((offset, data))

    def sync(self) -> None:
        for offset, data in self._since:
            _apply(self._safe, offset, data)
        self._since.clear()

    def after_a_cut(self, keeps: Callable[[], bool]) -> bytes:
        """What a machine finds that starts again; `keeps`, asked for each sector that was not synced."""
        found = bytearray(self._safe)
        for offset, data in self._since:
            if data is None:
                if keeps():
                    _apply(found, offset, None)
                continue
            for start, end in _sectors(offset, len(data)):
                if keeps():
                    _apply(found, start, data[start - offset : end - offset])
        return bytes(found)


def _apply(found: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del found[offset:]
        return
    found.extend(bytes(max(0, offset - len(found))))
    found[offset : offset + len(data)] = data


def _sectors(offset: int, size: int) -> Iterator[tuple[int, int]]:
    start = offset
    while start < offset + size:
        end = min(offset + size, (start // SECTOR + 1) * SECTOR)
        yield start, end
        start = end


class Power(apsw.VFS):
    """The files of all such disks."""

    def __init__(self) -> None:
        super().__init__(NAME, "")
        self.platters: defaultdict[str, Platter] = defaultdict(Platter)
        self.before_change: Callable[[], None] = lambda: None  # to the disk: a write or a sync

    def xOpen(self, name: Any, flags: list[int]) -> File:
        return File(self, name, flags)

    def cut(self, path: Path, keeps: Callable[[], bool], into: Path) -> None:
        """Write what would be left of this database after a cut."""
        for suffix in ("", "-wal"):
            if f"{path}{suffix}" in self.platters:
                left = self.platters[f"{path}{suffix}"].after_a_cut(keeps)
                Path(f"{into}{suffix}").write_bytes(left)

    def adopt(self, path: Path) -> None:
        """A database that was there before, and is safe."""
        for found in (path, Path(f"{path}-wal")):
            if found.exists():
                self.platters[str(found)].write(0, found.read_bytes())
                self.platters[str(found)].sync()

    def forget(self, path: Path) -> None:
        for suffix in ("", "-wal"):
            self.platters.pop(f"{path}{suffix}", None)


class File(apsw.VFSFile):
    """A real file, which tells its platter. (Shared memory and locks are the real file's alone.)"""

    def __init__(self, power: Power, name: Any, flags: list[int]) -> None:
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._power = power
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._power.before_change()
        super().xWrite(data, offset)
        self._power.platters[self._path].write(offset, bytes(data))

    def xTruncate(self, size: int) -> None:
        self._power.before_change()
        super().xTruncate(size)
        self._power.platters[self._path].write(size, None)

    def xSync(self, flags: int) -> None:
        self._power.before_change()  # the file is not synced for real: no machine loses its power here
        self._power.platters[self._path].sync()


POWER = Power()


class Rows(list[Any]):
    """What a cursor of sqlite3 offers, of rows that were all read."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        super().__init__(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        return self[0] if self else None

    def fetchall(self) -> list[Any]:
        return self

    def close(self) -> None:
        return


class Connection:
    """What the store uses of a connection of sqlite3's, over one of apsw's on such a disk."""

    def __init__(self, path: Path) -> None:
        with _translated():
            self._db = apsw.Connection(str(path), vfs=NAME)
        for pragma in sqlite.PRAGMAS:
            self.execute(f"pragma {pragma}")

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        with _translated():
            rows = self._db.execute(statement, tuple(values)).fetchall()
            return Rows(rows, self._db.changes())

    def close(self) -> None:
        self._db.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise sqlite3.OperationalError(str(error)) from error
