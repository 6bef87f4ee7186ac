"""A ledger's file is copied whole, at one moment, beside a ledger that goes on."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import backup
from cluster.errors import StoreProblem
from cluster.schema import MIGRATIONS, VERSION
from cluster.sqlite import SqliteStore
from cluster.store import Owner
from cluster.task import State

from .making import task
from .rows import new

# Commits one task, and so one tick, for each line it reads; or as fast as it can, once the line is "on".
WRITER = """
import asyncio, sys, threading
from pathlib import Path
from cluster.sqlite import SqliteStore
from cluster.store import Writes
from tests.cluster.making import task

async def main():
    owner = SqliteStore(Path(sys.argv[1])).take(create=True)
    store = SqliteStore(Path(sys.argv[1]))
    await store.open(owner.store_id, owner.generation)
    on = False
    while on or (line := await asyncio.to_thread(sys.stdin.readline)):
        on = on or line == "on\\n"
        writes = Writes()
        one = task(input='"' + "x" * 2000 + '"')
        writes.new[one.ref] = one
        writes.counts[one.agent, "queued"] += 1
        await store.commit(writes)
        print("done", flush=True)

asyncio.run(main())
"""


Make = Callable[[Path], object]


class Writer:
    """A ledger in another process, which commits as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def commit(self) -> None:
        """Returns once one more task is durable."""
        self.say("\n")
        self.heard()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def heard(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Writer(process)
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


def quiet(done: int, all: int) -> None:
    return


def filled(path: Path, tasks: int = 3) -> Owner:
    """A store with some tasks, closed."""

    async def fill() -> Owner:
        owner = SqliteStore(path).take(create=True)
        store = SqliteStore(path)
        await store.open(owner.store_id, owner.generation)
        writes = new(*(task(input=f'"{"x" * 3000}"') for _ in range(tasks)))
        writes.counts["echo", State.QUEUED.value] += tasks
        await store.commit(writes)
        await store.close()
        return owner

    return asyncio.run(fill())


def counted(path: Path) -> tuple[int, int]:
    """(ticks, tasks) of a file."""
    with sqlite3.connect(path) as db:
        return db.execute("select (select tick from owner), (select count(*) from task)").fetchone()  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_copy_is_of_one_moment_though_the_ledger_commits_between_any_two_pages(
    path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGES", 8)
    steps: list[int] = []
    with writing(path) as writer:
        for _ in range(100):
            writer.commit()

        def commit(done: int, all: int) -> None:
            steps.append(done)
            writer.commit()  # it is answered while the copy is being made, or this test hangs

        found = backup.copy(path, made, commit)
        backup.check(made)

    assert counted(made) == (100, 100)
    assert (found.owner.tick, found.tasks) == (100, {"queued": 100})
    assert len(steps) > 10
    assert steps == sorted(steps)  # it never began again
    assert counted(path)[1] == 100 + len(steps)


@pytest.mark.slow
def test_a_copy_made_under_load_holds_as_many_tasks_as_ticks(path: Path, made: Path) -> None:
    with writing(path) as writer:
        writer.say("on\n")
        for copies in range(5):
            for _ in range(20):
                writer.heard()
            backup.copy(path, made.with_name(f"{copies}.db"), quiet)

    found = [counted(made.with_name(f"{copies}.db")) for copies in range(5)]
    assert [ticks for ticks, _ in found] == [tasks for _, tasks in found]
    assert found[0][0] >= 20
    assert found == sorted(found)


@pytest.mark.slow
def test_what_a_killed_ledger_had_committed_is_copied_and_its_files_stay_as_they_are(path: Path, made: Path) -> None:
    with writing(path) as writer:
        for _ in range(5):
            writer.commit()
        writer.kill()
    before = {name: path.with_name(name).read_bytes() for name in ("ledger.db", "ledger.db-wal")}

    backup.copy(path, made, quiet)

    assert counted(made) == (5, 5)
    assert {name: path.with_name(name).read_bytes() for name in before} == before


def test_a_copy_is_one_file_that_only_its_owner_may_read(path: Path, made: Path) -> None:
    filled(path)

    backup.copy(path, made, quiet)

    assert not any(Path(f"{made}{part}").exists() for part in ("-wal", "-shm", "-journal"))
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.read_bytes()[18:20] == b"\x01\x01"  # it needs no log to be read


def test_a_copy_says_how_far_it_is(path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "PAGES", 4)
    filled(path, tasks=50)
    told: list[tuple[int, int]] = []

    found = backup.copy(path, made, lambda done, all: told.append((done, all)))

    assert told[-1] == (found.bytes, found.bytes)
    assert {all for _, all in told} == {found.bytes} == {made.stat().st_size}


def other(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("create table task (id)")


def newer(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version={VERSION + 1}")


def untaken(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute("delete from owner")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no file"),
        (Path.mkdir, "there is no file"),
        (Path.touch, "not a ledger"),
        (lambda path: path.write_text("just a text, and a long one " * 40), "not a database"),
        (other, "not a ledger"),
        (newer, "newer Rubato"),
        (untaken, "never taken"),
    ],
)
def test_what_is_no_ledger_is_refused_and_nothing_is_made(path: Path, made: Path, make: Make, says: str) -> None:
    make(path)

    with pytest.raises(StoreProblem, match=says):
        backup.look(path)
    with pytest.raises(StoreProblem, match=says):
        backup.copy(path, made, quiet)
    assert not made.exists()


def test_a_store_that_is_damaged_is_found_out_in_its_copy(path: Path, made: Path) -> None:
    filled(path, tasks=200)
    with sqlite3.connect(path) as db:
        (root,) = db.execute("select rootpage from sqlite_schema where name='task_queued'").fetchone()
        size = db.execute("pragma page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    data[(root - 1) * size + 100 : root * size] = bytes(size - 100)
    path.write_bytes(data)

    backup.copy(path, made, quiet)

    with pytest.raises(StoreProblem, match="damaged"):
        backup.check(made)


def test_a_disk_without_room_is_refused_before_anything_is_written(
    path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    usage = shutil.disk_usage(path)._replace(free=path.stat().st_size)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)

    with pytest.raises(StoreProblem, match="has room for 0 MiB, and this takes 0 MiB"):
        backup.copy(path, made, quiet)
    assert not made.exists()


def test_ctrl_c_ends_a_copy_and_a_check(path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, tasks=500)
    monkeypatch.setattr(backup, "PAGES", 1)
    monkeypatch.setattr(backup, "STEPS", 100)

    def press() -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr(backup, "_pause", press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            backup.copy(path, made, lambda done, all: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            backup.check(path)
    finally:
        signal.signal(signal.SIGINT, before)


async def test_no_ledger_of_the_original_may_open_a_copy_with_an_id_of_its_own(path: Path, made: Path) -> None:
    owner = await asyncio.to_thread(filled, path)
    backup.copy(path, made, quiet)
    backup.set_id(made, "another")

    with pytest.raises(StoreProblem, match="another store lies here"):
        await SqliteStore(made).open(owner.store_id, owner.generation)
    assert SqliteStore(made).take(create=False) == Owner("another", owner.generation + 1, 0)


def test_a_backup_of_an_earlier_schema_is_brought_forward_when_it_is_taken(path: Path, made: Path) -> None:
    with sqlite3.connect(path) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute("pragma user_version=1")
        db.execute("insert into owner values ('old', 4, 9)")

    found = backup.copy(path, made, quiet)

    assert (found.owner, found.tasks) == (Owner("old", 4, 9), {})
    assert SqliteStore(made).take(create=False) == Owner("old", 5, 0)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_its_name_only_where_there_is_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError("this file system knows no links")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    first, second, name = tmp_path / "first", tmp_path / "second", tmp_path / "name"
    first.write_text("first")
    second.write_text("second")

    backup.publish(first, name)
    with pytest.raises(FileExistsError):
        backup.publish(second, name)

    assert name.read_text() == "first"
    assert (first.exists(), second.exists()) == (False, True)


@pytest.mark.slow
def test_a_store_is_set_aside_with_its_log_and_holds_all_that_it_held(path: Path) -> None:
    with writing(path) as writer:
        for _ in range(5):
            writer.commit()
        writer.kill()

    aside = backup.set_aside(path, "now")

    assert aside == path.with_name("ledger.db.before-now")
    assert sorted(file.name for file in path.parent.iterdir()) == [
        *(f"ledger.db.before-now{part}" for part in ("", "-shm", "-wal")),
        "ledger.db.lock",
    ]
    assert counted(aside) == (5, 5)
    assert backup.set_aside(path, "then") is None
