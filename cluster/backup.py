"""A whole ledger in one SQLite file: copied from a store in use, checked, and put where a store is to be."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from .errors import StoreProblem
from .schema import VERSION, migrate
from .store import Owner

PAGES = 1024  # copied between two words on how far it is
STEPS = 1_000_000  # of a check, between two moments in which Ctrl-C is heard
PARTS = ("", "-wal", "-shm")  # the file of a store, and those that SQLite keeps beside it

Tell = Callable[[int, int], None]  # bytes that are copied, of how many


class Found(NamedTuple):
    """What a ledger says of itself."""

    owner: Owner
    tasks: dict[str, int]  # by state
    bytes: int


def look(path: Path) -> Found:
    """What is in a ledger's file, whether or not it is in use.

    Raises StoreProblem where it is no ledger's, or of a newer Rubato.
    """
    with _told(f"{path} cannot be read"), _open(path, "ro") as db:
        return _found(db, path)


def copy(source: Path, made: Path, tell: Tell) -> Found:
    """Make a file of one moment of a ledger, which goes on meanwhile.

    SQLite's backup copies pages as they are: half the CPU of VACUUM INTO, and it says how far it is. It would begin
    again at every commit of another process; inside a transaction of our own it sees one snapshot to the end, and
    keeps nobody from writing. Raises StoreProblem.
    """
    with _told(f"{source} cannot be copied"), _open(source, "ro") as db:
        db.execute("begin")
        found = _found(db, source)
        check_room(made.parent, found.bytes)
        page = db.execute("pragma page_size").fetchone()[0]
        with _new(made) as into:
            db.backup(into, pages=PAGES, progress=lambda _, left, all: tell((all - left) * page, all * page), sleep=0)
            into.execute("pragma journal_mode=delete")  # from now on it is this file alone
    return found


@contextmanager
def filling(made: Path) -> Iterator[sqlite3.Connection]:
    """Make a ledger's file with nothing in it, to be filled; what is put into it is all there at the end, or nothing.

    Raises StoreProblem.
    """
    with _told(f"{made} cannot be written"), _new(made) as db:
        migrate(db)
        db.execute("begin")
        yield db
        db.execute("commit")


@contextmanager
def reading(made: Path) -> Iterator[sqlite3.Connection]:
    """A copied ledger, brought forward to this version. Raises StoreProblem."""
    with _told(f"{made} cannot be read"), _open(made, "rw") as db:
        migrate(db)
        yield db


def check(made: Path) -> None:
    """Returns once every row and index is found to hold, and is on the disk. Raises StoreProblem."""
    with _told(f"{made} cannot be checked"), _open(made, "ro") as db:
        db.set_progress_handler(_pause, STEPS)
        first = db.execute("pragma integrity_check(1)").fetchone()[0]
    if first != "ok":
        raise StoreProblem(f"what was copied is damaged, and so is what it was copied from: {first}")
    _sync(made)


def set_id(made: Path, store_id: str) -> None:
    """Give a copied ledger an id of its own, so that no ledger which has the original open can ever write to it."""
    with _told(f"{made} cannot be written"), _open(made, "rw") as db:
        db.execute("update owner set store_id=?, tick=0", (store_id,))
    _sync(made)


def publish(made: Path, path: Path) -> None:
    """Give a file that is whole its name. Raises FileExistsError, and changes nothing, where there is one."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        made.rename(path)
    made.unlink(missing_ok=True)
    _sync(path.parent)


def set_aside(path: Path, stamp: str) -> Path | None:
    """Move a store that nobody has open out of the way; where it is now, None if there was none."""
    found = [part for part in PARTS if os.path.exists(f"{path}{part}")]
    aside = f"{path}.before-{stamp}"
    while any(os.path.exists(f"{aside}{part}") for part in PARTS):
        aside += "+"
    for part in found:  # the store first: a crash in between leaves none, and never a new one beside an old one's log
        os.rename(f"{path}{part}", f"{aside}{part}")
    return Path(aside) if found else None


def check_room(folder: Path, size: int) -> None:
    """Raises StoreProblem where so many bytes, and a little more, do not fit."""
    free = shutil.disk_usage(folder).free
    if free < size * 1.05:
        raise StoreProblem(f"{folder} has room for {free / 2**20:,.0f} MiB, and this takes {size / 2**20:,.0f} MiB")


def _found(db: sqlite3.Connection, path: Path) -> Found:
    version = db.execute("pragma user_version").fetchone()[0]
    tables = {name for (name,) in db.execute("select name from sqlite_schema where type='table'")}
    if version < 1 or not {"owner", "task", "step", "event"} <= tables:
        raise StoreProblem(f"{path} is not a ledger of Rubato")
    if version > VERSION:
        raise StoreProblem(
            f"{path} was written by a newer Rubato (schema {version}, this one knows {VERSION}); use that version"
        )
    owner = db.execute("select store_id, generation, tick from owner").fetchone()
    if owner is None:
        raise StoreProblem(f"{path} was never taken by a ledger: there is nothing in it")
    counted = "select state, sum(number) from tally group by state having sum(number)<>0"
    if "tally" not in tables:
        counted = "select state, count(*) from task group by state"
    pages, size = (db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return Found(Owner(*owner), dict(db.execute(counted)), pages * size)


def _new(path: Path) -> closing[sqlite3.Connection]:
    """A connection to a file that is made by it, for its owner alone."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return _open(path, "rw")


def _open(path: Path, mode: str) -> closing[sqlite3.Connection]:
    """A connection to a file that is there: `ro` leaves all of it as it is, the log of a killed ledger included."""
    if not path.is_file():
        raise StoreProblem(f"there is no file {path}")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    db.execute("pragma synchronous=off")  # what is written here is synced once, when it is whole
    return closing(db)


def _pause() -> int:
    """Python's turn in a long query: a signal that has come is raised in here, and that ends the query."""
    return 0


@contextmanager
def _told(what: str) -> Iterator[None]:
    """SQLite's troubles as StoreProblem; that a signal ended it is none."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        raise StoreProblem(f"{what}: {error}") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
