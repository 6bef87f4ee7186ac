"""A ledger goes into a file and comes back, with all that it has promised."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agents.artifacts import FolderArtifacts
from agents.shelves import shelves_at
from cluster.book import Clock
from cluster.errors import StoreProblem
from cluster.ledger import Ledger
from cluster.places import without_password
from cluster.processes import MARK
from cluster.sqlite import SqliteStore
from cluster.stores import store_at
from cluster.task import Filter, Task
from deployments.background import take_store
from deployments.keeping import Backup, CannotKeep, Restored, backup, restore
from deployments.phases import PhaseFailed, Phases
from deployments.state import Running, StateFolder
from tests.cluster.making import COMPLETED, ManualClock, hello, report, submission, task
from tests.cluster.scheduled import HOUR, NOON, hourly, hurry, until
from tests.postgres import Server, drop_database, make_database

pytestmark = pytest.mark.slow


class Nobody:
    """Hears of no phase."""

    def begins(self, phase: str) -> None: ...

    def ends(self, phase: str, seconds: float) -> None: ...

    def says(self, phase: str, words: str) -> None: ...


PHASES = Phases(Nobody(), {})


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return made(tmp_path / "state")


@pytest.fixture
def other(tmp_path: Path) -> StateFolder:
    return made(tmp_path / "other")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept.db"


@pytest.fixture
def own_database(postgres_server: Server) -> Iterator[str]:
    """A database of this test's own."""
    name = f"rubato_test_{secrets.token_hex(4)}"
    yield asyncio.run(make_database(postgres_server, name))
    asyncio.run(drop_database(postgres_server, name))


def made(path: Path) -> StateFolder:
    folder = StateFolder(path)
    folder.make()
    return folder


def keep(state: StateFolder, file: Path) -> Backup:
    return backup(state, file, "/artifacts", PHASES)


def put_back(state: StateFolder, file: Path, wanted: str = "") -> Restored:
    return restore(state, file, wanted, "/artifacts", PHASES)


@asynccontextmanager
async def up(state: StateFolder, wanted: str = "", clock: Clock | None = None) -> AsyncIterator[Ledger]:
    """The ledger that an `up` in this folder starts."""
    where, id, generation = await asyncio.to_thread(take_store, state, wanted)
    store = store_at(where)
    owner = await store.open(id, generation)
    ledger = Ledger(store, clock, fresh=owner.tick == 0)
    running = asyncio.create_task(ledger.run())
    yield ledger
    running.cancel()
    await asyncio.wait([running])
    await store.close()


async def all_of(ledger: Ledger) -> dict[str, Task]:
    return {each.id: each for each in await ledger.tasks("", Filter(), None, 1000)}


def parts(*folders: Path) -> list[str]:
    """Files that are not whole."""
    return [file.name for folder in folders for file in folder.iterdir() if ".part" in file.name]


def filled(state: StateFolder, tasks: int = 3) -> list[str]:
    """The ids of some tasks that were accepted, before a `down`."""

    async def fill() -> list[str]:
        async with up(state) as ledger:
            return [(await ledger.submit(submission(task()))).task_ids[0] for _ in range(tasks)]

    return asyncio.run(fill())


def ids(state: StateFolder, wanted: str = "") -> set[str]:
    """The tasks that the next `up` knows."""

    async def look() -> set[str]:
        async with up(state, wanted) as ledger:
            return set(await all_of(ledger))

    return asyncio.run(look())


def everything(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("lock", "-shm"))}


async def test_what_is_restored_goes_on_where_the_backup_was_made(
    state: StateFolder, other: StateFolder, file: Path
) -> None:
    done, running, later = (task() for _ in range(3))
    async with up(state) as ledger:
        await ledger.submit(submission(done))
        (claim,) = (await ledger.pull(hello("w1"), 1)).claims
        await ledger.report(hello("w1"), 2, (report(claim, 1, verdict=COMPLETED),))
        await ledger.submit(submission(running, key="k1", digest="d1"))
        (held,) = (await ledger.pull(hello("w1"), 3)).claims

        kept = await asyncio.to_thread(keep, state, file)
        await ledger.submit(submission(later))

    restored = await asyncio.to_thread(put_back, other, file)
    async with up(other) as ledger:
        found = await all_of(ledger)
        stale = await ledger.report(hello("w1"), 4, (report(held, 1, verdict=COMPLETED),))
        again = await ledger.submit(submission(task(), key="k1", digest="d1"))
        (claim,) = stale.orders.claims
        await ledger.report(hello("w1"), 5, (report(claim, 1, verdict=COMPLETED),))
        ended = await ledger.task("", running.id)

    assert kept.tasks == restored.tasks == {"completed": 1, "running": 1}
    assert found.keys() == {done.id, running.id}
    assert (found[done.id].state, found[done.id].output) == ("completed", COMPLETED.output)
    assert stale.lost == ((*held.task.ref, held.task.fence),)
    assert (again.task_ids, again.replayed) == ((running.id,), True)
    assert claim.task.id == running.id
    assert ended is not None
    assert (ended.state, ended.attempts) == ("completed", 1)
    assert parts(state.path, other.path, file.parent) == []


async def test_a_schedule_takes_up_the_times_that_have_passed_since_the_backup(
    state: StateFolder, other: StateFolder, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    clock = ManualClock(NOON - 10)
    async with up(state, clock=clock.clock) as ledger:
        await ledger.put_schedule(hourly(catch_up="all", overlap="allow"), None)
        await asyncio.to_thread(keep, state, file)

    await asyncio.to_thread(put_back, other, file)
    clock.advance(2 * HOUR + 20)

    async with up(other, clock=clock.clock) as ledger:

        async def caught_up() -> bool:
            return len(await all_of(ledger)) == 3

        await until(caught_up)
        found = await ledger.schedule("", "hourly")
    assert found is not None
    assert (found.last_at, found.next_at) == (NOON + 2 * HOUR, NOON + 3 * HOUR)


def test_a_restored_ledger_is_one_of_its_own_and_its_next_up_a_new_generation(
    state: StateFolder, other: StateFolder, file: Path
) -> None:
    filled(state)
    _, id, generation = take_store(state, "")
    keep(state, file)

    put_back(other, file)
    put_back(state, file)

    where, new_id, next_generation = take_store(other, "")
    assert len({id, new_id, take_store(state, "")[1]}) == 3
    assert next_generation == generation + 1
    with pytest.raises(StoreProblem, match="another store lies here"):
        asyncio.run(SqliteStore(Path(where)).open(id, generation))


def test_what_was_there_is_kept_and_can_be_put_back_too(state: StateFolder, file: Path) -> None:
    first = filled(state)
    keep(state, file)
    more = filled(state)

    restored = put_back(state, file)
    assert restored.aside is not None
    assert ids(state) == set(first)
    again = put_back(state, Path(restored.aside))

    assert ids(state) == {*first, *more}
    assert again.aside != restored.aside


def test_a_ledger_may_be_restored_to_another_place_which_the_folder_then_knows(
    state: StateFolder, file: Path, tmp_path: Path
) -> None:
    kept = filled(state)
    keep(state, file)
    elsewhere = str(tmp_path / "disk" / "tasks.db")

    restored = put_back(state, file, elsewhere)

    assert (restored.store, restored.aside, restored.left) == (elsewhere, None, str(state.path / "ledger.db"))
    assert state.store("")[0] == elsewhere
    assert ids(state) == ids(state, elsewhere) == set(kept)
    assert (state.path / "ledger.db").exists()


def test_the_folders_artifacts_are_its_new_ledgers_and_nobody_elses_are(
    state: StateFolder, other: StateFolder, file: Path, tmp_path: Path
) -> None:
    filled(state)
    keep(state, file)
    artifacts = tmp_path / "artifacts"
    FolderArtifacts(artifacts, "").write(b"bytes")
    _, id, _ = take_store(state, "")
    assert shelves_at(str(artifacts)).own(id)

    restore(other, file, "", str(artifacts), PHASES)
    assert shelves_at(str(artifacts)).own(id)
    restore(state, file, "", str(artifacts), PHASES)

    assert not shelves_at(str(artifacts)).own(id)
    assert shelves_at(str(artifacts)).own(take_store(state, "")[1])


def test_a_ledger_moves_to_a_database_and_back(
    state: StateFolder, other: StateFolder, file: Path, own_database: str
) -> None:
    kept = filled(state)
    keep(state, file)

    moved = put_back(state, file, own_database)
    again = put_back(state, file)
    back = file.with_name("back.db")
    keep(state, back)
    put_back(other, back)

    assert (moved.store, moved.aside) == (without_password(own_database), None)
    assert moved.left == str(state.path / "ledger.db")
    assert state.store("")[0] == own_database
    assert again.aside is not None
    assert again.aside.startswith("the schema rubato_before_")
    assert again.left is None
    assert f":{urlsplit(own_database).password}@" not in repr((moved, again))
    assert ids(state) == ids(other) == set(kept)
    assert parts(state.path, other.path, file.parent) == []


def test_a_lost_ledger_is_restored_to_where_it_was(state: StateFolder, file: Path) -> None:
    kept = filled(state)
    keep(state, file)
    for part in state.path.glob("ledger.db*"):
        part.unlink()
    with pytest.raises(StoreProblem, match="restore it"):
        take_store(state, "")

    assert put_back(state, file).aside is None
    assert ids(state) == set(kept)


@contextmanager
def marked(state: StateFolder) -> Iterator[int]:
    """A process that belongs to what runs in this folder."""
    env = {**os.environ, MARK: state.make()}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=env, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("remembered", [True, False])
def test_nothing_is_restored_while_anything_runs(state: StateFolder, file: Path, remembered: bool) -> None:
    filled(state)
    keep(state, file)
    with marked(state) as pid:
        if remembered:
            state.remember(Running(state.make(), "http://127.0.0.1:1", "", "", "", pid))
        before = everything(state.path)

        with pytest.raises(CannotKeep, match="down"):
            put_back(state, file)

        assert everything(state.path) == before


@pytest.mark.slow
async def test_nothing_is_restored_under_a_ledger_that_has_the_store_open(
    state: StateFolder, other: StateFolder, file: Path
) -> None:
    async with up(state) as ledger:
        await ledger.submit(submission(task()))
        await asyncio.to_thread(keep, state, file)
        before = everything(state.path)

        with pytest.raises(PhaseFailed, match="another ledger has"):
            await asyncio.to_thread(put_back, other, file, str(state.path / "ledger.db"))

        assert everything(state.path) == before
        await ledger.submit(submission(task()))


def damaged(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096 * 3 :] = bytes(len(data) - 4096 * 3)
    file.write_bytes(data)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:10_000])


@pytest.mark.parametrize("spoil", [damaged, cut_off])
def test_a_backup_that_does_not_hold_changes_nothing(
    state: StateFolder, file: Path, spoil: Callable[[Path], None]
) -> None:
    kept = filled(state)
    keep(state, file)
    spoil(file)
    before = everything(state.path)

    with pytest.raises((PhaseFailed, StoreProblem), match=r"damaged|malformed"):
        put_back(state, file)

    assert everything(state.path) == before
    assert ids(state) == set(kept)


def test_a_backup_is_refused_with_a_reason(state: StateFolder, other: StateFolder, file: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotKeep, match="no ledger yet"):
        keep(other, file)
    with pytest.raises(CannotKeep, match="no ledger yet"):
        keep(StateFolder(tmp_path / "never"), file)
    filled(state)
    with pytest.raises(CannotKeep, match="no folder"):
        keep(state, tmp_path / "nowhere" / "kept.db")
    file.write_text("mine")
    with pytest.raises(CannotKeep, match="another name"):
        keep(state, file)
    with pytest.raises(CannotKeep, match="the ledger itself"):
        put_back(state, state.path / "ledger.db")

    assert file.read_text() == "mine"
    assert not (tmp_path / "never").exists()


def test_two_backups_of_one_name_at_a_time_end_as_one(
    state: StateFolder, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(state)
    monkeypatch.setattr("cluster.backup.check", lambda made: file.write_text("theirs"))

    with pytest.raises(CannotKeep, match="meanwhile"):
        keep(state, file)

    assert file.read_text() == "theirs"
    assert parts(file.parent) == []
