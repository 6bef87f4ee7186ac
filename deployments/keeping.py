"""A state folder's ledger as one file: made while it is in use, and put back while nothing runs."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agents import RubatoError
from agents.ids import new_id
from agents.shelves import shelves_at
from cluster import backup as files
from cluster import processes
from cluster.filelock import lock
from cluster.places import on_server, same_place, without_password

from .phases import Phases
from .state import StateFolder
from .up import running

MIB = 2**20


class CannotKeep(RubatoError):
    """It cannot be done as asked; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that holds a ledger."""

    path: str
    bytes: int
    tasks: dict[str, int]  # by state
    artifacts: str  # where those are that it refers to


@dataclass(frozen=True, slots=True)
class Restored:
    """A ledger that was put back."""

    store: str  # without a password that belongs to it
    tasks: dict[str, int]  # by state
    aside: str | None  # where what was there before is now: a file, or a schema of the database
    left: str | None  # where the folder's tasks were so far, if that is another place
    artifacts: str  # where those must be that it refers to


def backup(state: StateFolder, target: Path, artifacts: str, phases: Phases) -> Backup:
    """Make a file of the folder's ledger as it is at one moment, whether or not it runs.

    Raises CannotKeep, or PhaseFailed; then there is no such file.
    """
    where, known = state.store("") if state.id() is not None else ("", "")
    if not known:
        raise CannotKeep(f"{state.path} has no ledger yet: there is nothing to keep")
    if target.exists():
        raise CannotKeep(f"{target} is there already; choose another name")
    if not target.parent.is_dir():
        raise CannotKeep(f"there is no folder {target.parent}")
    with _made(target) as made:
        with phases.phase("copy the ledger") as tell:
            _copy(where, made, tell)
        with phases.phase("check the copy"):
            files.check(made)
        try:
            files.publish(made, target)
        except FileExistsError:
            raise CannotKeep(f"{target} was made by somebody else meanwhile; choose another name") from None
    found = files.look(target)
    return Backup(str(target), found.bytes, found.tasks, artifacts)


def restore(state: StateFolder, source: Path, wanted: str, artifacts: str, phases: Phases) -> Restored:
    """Let the folder have the ledger in a file; `wanted` is where its store is to be, '' for where it was.

    What is there now is kept. Raises CannotKeep, or PhaseFailed; then it is as it was.
    """
    _refuse_running(state)
    had, known = state.store("")
    where = wanted or had
    if not on_server(where) and source.exists() and Path(where).exists() and source.samefile(where):
        raise CannotKeep(f"{source} is the ledger itself")
    found, id = files.look(source), new_id()
    beside = state.path / "restore" if on_server(where) else Path(where)
    beside.parent.mkdir(parents=True, exist_ok=True)
    with _made(beside) as made:
        with phases.phase("copy the ledger") as tell:
            files.copy(source, made, _in_bytes(tell))
        with phases.phase("check the copy"):
            files.set_id(made, id)
            files.check(made)
        with phases.phase("put it in its place") as tell:
            aside = _put(where, made, id, tell)
            state.remember_store(where, id)
    if known:
        _pass_on(artifacts, known, id)
    left = without_password(had) if known and not same_place(where, had) else None
    return Restored(without_password(where), found.tasks, aside, left, artifacts)


def _refuse_running(state: StateFolder) -> None:
    id = state.id()
    if running(state) is not None or (id is not None and processes.marked(id)):
        raise CannotKeep(f"Rubato runs in {state.path}; end it with ./rubato down first")


def _pass_on(artifacts: str, before: str, id: str) -> None:
    """Let the artifacts of the folder's ledger so far be those of its new one, which would never delete any else."""
    try:
        shelves_at(artifacts).pass_on(before, id)
    except Exception as error:  # whatever the library of a bucket raises
        raise CannotKeep(
            f"the ledger is restored; but its artifacts in {artifacts} are another's ({error}):"
            " remove the file `owner` there, or none of them ever goes"
        ) from error


def _copy(where: str, made: Path, tell: Callable[[str], None]) -> None:
    if not on_server(where):
        files.copy(Path(where), made, _in_bytes(tell))
        return
    from cluster.postgres_backup import save  # the driver takes a while to load, and few need it

    with files.filling(made) as db:
        asyncio.run(save(where, db, _in_rows(tell)))


def _put(where: str, made: Path, id: str, tell: Callable[[str], None]) -> str | None:
    """Let the store there be what was made; where what was there is kept, None if there was nothing."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if not on_server(where):
        with lock(Path(where), wait=1.0):
            aside = files.set_aside(Path(where), stamp)
            files.publish(made, Path(where))
        return str(aside) if aside else None
    from cluster.postgres_backup import load

    schema = f"rubato_before_{stamp.lower()}"
    with files.reading(made) as db:
        kept = asyncio.run(load(where, db, id, schema, _in_rows(tell)))
    return f"the schema {schema}" if kept else None


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A name beside `path` for a file that is not whole yet; it is gone at the end, whatever comes."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield made
    finally:
        for part in (*files.PARTS, "-journal"):
            Path(f"{made}{part}").unlink(missing_ok=True)


def _in_bytes(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    return lambda done, all: tell(f"{done / MIB:,.0f} of {all / MIB:,.0f} MiB")


def _in_rows(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    return lambda done, all: tell(f"{done:,} of {all:,} rows")
