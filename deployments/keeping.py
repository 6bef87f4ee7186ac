"""A state folder's ledger as one file: made while it is in use, and put back while nothing runs."""

from __future__ import annotations

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
from cluster import processes, sqlite
from cluster.errors import StoreProblem
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
    aside: str | None  # where what was there before is now
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
            found = files.copy(_file(where), made, _told(tell))
        with phases.phase("check the copy"):
            files.check(made)
        try:
            files.publish(made, target)
        except FileExistsError:
            raise CannotKeep(f"{target} was made by somebody else meanwhile; choose another name") from None
    return Backup(str(target), target.stat().st_size, found.tasks, artifacts)


def restore(state: StateFolder, source: Path, wanted: str, artifacts: str, phases: Phases) -> Restored:
    """Let the folder have the ledger in a file; `wanted` is where its store is to be, '' for where it was.

    What is there now is kept beside it. Raises CannotKeep, or PhaseFailed; then it is as it was.
    """
    _refuse_running(state)
    had, known = state.store("")
    where = wanted or had
    path = _file(where)
    if source.exists() and path.exists() and source.samefile(path):
        raise CannotKeep(f"{source} is the ledger itself")
    files.look(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    id = new_id()
    with _made(path) as made:
        with phases.phase("copy the ledger") as tell:
            found = files.copy(source, made, _told(tell))
        with phases.phase("check the copy"):
            files.set_id(made, id)
            files.check(made)
        with phases.phase("put it in its place"), sqlite.lock(path, wait=1.0):
            aside = files.set_aside(path, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
            files.publish(made, path)
            state.remember_store(where, id)
    if known:
        _pass_on(artifacts, known, id)
    left = without_password(had) if known and not same_place(where, had) else None
    return Restored(without_password(where), found.tasks, str(aside) if aside else None, left, artifacts)


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


def _file(where: str) -> Path:
    if on_server(where):
        raise StoreProblem("the tasks are in a PostgreSQL database: pg_dump copies it, pg_restore puts it back")
    return Path(where)


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A name beside `path` for a file that is not whole yet; it is gone at the end, whatever comes."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield made
    finally:
        for part in (*files.PARTS, "-journal"):
            Path(f"{made}{part}").unlink(missing_ok=True)


def _told(tell: Callable[[str], None]) -> files.Tell:
    return lambda done, all: tell(f"{done / MIB:,.0f} of {all / MIB:,.0f} MiB")
