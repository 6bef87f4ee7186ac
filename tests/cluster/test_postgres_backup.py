"""A ledger moves between a file and a database, whole, in either direction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from cluster import backup, rows
from cluster.apikeys import ApiKey
from cluster.errors import StoreProblem
from cluster.limits import Rule
from cluster.postgres import PostgresStore
from cluster.postgres_backup import load, save
from cluster.rows import TABLES
from cluster.sessions import Session
from cluster.sqlite import SqliteStore
from cluster.store import EventRow, KeyRow, Owner, Reference, SignalRow, StepRow, Store, Writes
from cluster.stores import store_at
from cluster.task import State

from .keeping_contract import schedule
from .making import task
from .rows import new

PAGE = 3


def quiet(done: int, all: int) -> None:
    return


def everything() -> Writes:
    """Rows of every kind, with the values that are told apart with care: none, empty, exact, and long."""
    tasks = [
        task(tenant="acme", input='"\\u0000 \\ud83d\\ude00 ünï"', batch_id="b", deadline=1e9 + 0.123456789),
        task(state=State.WAITING.value, waiting_on='{"until":null}', run_at=0.1 + 0.2, children=2, signals=1),
        task(state=State.FAILED.value, error="{}", ended_at=5.0, output=None, attempts=3, fence=2**31 - 1),
        *(task(id=f"id-{number}", input=f'"{"x" * 5000}"') for number in range(PAGE * 3)),
    ]
    one = tasks[0]
    writes = new(*tasks)
    of = (one.tenant, one.id)
    writes.steps = [StepRow(*of, "think", f"#{n}", "d", f"[{n}]", n, 1, 1.5, 1, n) for n in range(PAGE + 1)]
    writes.events = [EventRow(*of, 9, "progress", 2.5, 1, "", '{"message":"hi"}', 1, 1)]
    writes.signals = [SignalRow(*of, 0, "go", "null", 3.5)]
    writes.keys = {("acme", "/v1/tasks", "k"): KeyRow("acme", "/v1/tasks", "k", "d", None, f'["{one.id}"]', one.id)}
    writes.rules = {("acme", "k"): Rule("acme", "k", 3, 5, 60.0, 0.25, None, 1e9 + 0.5)}
    writes.schedules = {("", "nightly"): schedule("nightly")}
    writes.api_keys = {("acme", "k1"): ApiKey("acme", "k1", "ci", "run", "d" * 64, 1e9 + 0.5, None, 7.5, 3, 0.5)}
    session = Session("acme", "support", "s 1", 3, '{"turns":3}', "w", 1e9 + 0.125)
    writes.sessions = {session.ref: session}
    writes.references = {Reference("acme", "a" * 64, one.id)}
    writes.counts.update({("echo", State.QUEUED.value): len(tasks) - 2, ("echo", State.WAITING.value): 1})
    writes.lanes.update({("echo", "a", "queued"): 2})
    return writes


def rows_of(path: Path) -> dict[str, list[Any]]:
    with sqlite3.connect(path) as db:
        return {table.name: db.execute(rows.selected(table)).fetchall() for table in TABLES}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table takes several pages."""
    monkeypatch.setattr(rows, "PAGE", PAGE)
    monkeypatch.setattr("cluster.postgres_backup.PAGE", PAGE)


async def filled(store_of: Callable[[], Store], take: Callable[[], Owner], writes: Writes) -> Owner:
    owner = await asyncio.to_thread(take)
    store = store_of()
    await store.open(owner.store_id, owner.generation)
    await store.commit(writes)
    await store.close()
    return owner


@pytest.fixture
async def url(postgres_url: str) -> AsyncIterator[str]:
    """A database with nothing in it, and nothing but its public schema afterwards."""
    yield postgres_url
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("drop schema if exists aside cascade")
    await connection.close()


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A ledger's file with rows of every kind."""
    path = tmp_path / "ledger.db"
    await filled(lambda: SqliteStore(path), lambda: SqliteStore(path).take(create=True), everything())
    backup.copy(path, tmp_path / "kept.db", quiet)
    return tmp_path / "kept.db"


async def put(url: str, file: Path) -> bool:
    """As a store of the id `restored`; what was there goes into the schema `aside`."""
    with backup.reading(file) as db:
        return await load(url, db, "restored", "aside", quiet)


async def kept(url: str, made: Path) -> Path:
    with backup.filling(made) as db:
        await save(url, db, quiet)
    backup.check(made)
    return made


def test_a_table_is_as_every_store_has_it(tmp_path: Path) -> None:
    with backup.filling(tmp_path / "new.db") as db:
        names = {name for (name,) in db.execute("select name from sqlite_schema where type='table'")}
        found = {
            name: [(row[1], row[5]) for row in db.execute(f"pragma table_info({name})")]
            for name in names - {"owner", "sqlite_stat1"}
        }

    assert {table.name for table in TABLES} == found.keys()
    for table in TABLES:
        assert set(table.columns) == {name for name, _ in found[table.name]}
        assert list(table.key) == [name for name, place in sorted(found[table.name], key=lambda c: c[1]) if place]


async def test_no_row_is_lost_or_changed_on_the_way_to_a_database_and_back(
    file: Path, tmp_path: Path, url: str
) -> None:
    assert await put(url, file) is False
    back = await kept(url, tmp_path / "back.db")

    assert rows_of(back) == rows_of(file)
    assert all(rows_of(file).values())
    assert backup.look(back).owner == Owner("restored", 1, 0)


async def test_a_database_that_was_given_a_ledger_is_opened_as_any(file: Path, url: str) -> None:
    await put(url, file)

    owner = await asyncio.to_thread(lambda: store_at(url).take(create=False, expect="restored"))
    store = PostgresStore(url)
    await store.open(owner.store_id, owner.generation)
    await store.commit(new(task()))
    found = [await store.task("", f"id-{number}") for number in range(PAGE * 3)]
    await store.close()

    assert owner == Owner("restored", 2, 0)
    assert None not in found


async def test_a_backup_is_of_one_moment_though_the_ledger_commits_between_any_two_pages(
    tmp_path: Path, url: str
) -> None:
    owner = await asyncio.to_thread(lambda: store_at(url).take(create=True))
    store = PostgresStore(url)
    await store.open(owner.store_id, owner.generation)
    for _ in range(20):
        await store.commit(new(task()))
    made, committing = tmp_path / "made.db", []

    lock = asyncio.Lock()

    async def commit() -> None:
        async with lock:
            await store.commit(new(task()))

    with backup.filling(made) as db:
        await save(url, db, lambda done, all: committing.append(asyncio.ensure_future(commit())))
    await asyncio.gather(*committing)
    await store.close()

    assert len(committing) >= 20 // PAGE
    with sqlite3.connect(made) as db:
        assert db.execute("select (select tick from owner), (select count(*) from task)").fetchone() == (20, 20)


async def test_what_the_database_had_is_kept_in_a_schema_that_is_a_store_itself(file: Path, url: str) -> None:
    one = task()
    before = await filled(lambda: PostgresStore(url), lambda: store_at(url).take(create=True), new(one))

    assert await put(url, file) is True

    aside = f"{url}?options={quote('-csearch_path=aside')}"
    owner = await asyncio.to_thread(lambda: store_at(aside).take(create=False, expect=before.store_id))
    store = PostgresStore(aside)
    await store.open(owner.store_id, owner.generation)
    assert await store.task("", one.id) == one
    await store.close()


async def test_no_database_is_changed_under_a_ledger_that_has_it_open(file: Path, url: str) -> None:
    owner = await asyncio.to_thread(lambda: store_at(url).take(create=True))
    store = PostgresStore(url)
    await store.open(owner.store_id, owner.generation)

    with pytest.raises(StoreProblem, match="another ledger has the database open"):
        await put(url, file)
    await store.commit(new(task()))
    await store.close()

    assert await put(url, file) is True


async def test_a_load_that_fails_leaves_the_database_as_it_was(file: Path, url: str) -> None:
    one = task()
    before = await filled(lambda: PostgresStore(url), lambda: store_at(url).take(create=True), new(one))
    with sqlite3.connect(file) as db:
        db.execute("update reference set task=?", ("\0",))  # in the last table but one; PostgreSQL holds no such text

    with pytest.raises(StoreProblem, match="cannot hold"):
        await put(url, file)

    owner = await asyncio.to_thread(lambda: store_at(url).take(create=False, expect=before.store_id))
    store = PostgresStore(url)
    await store.open(owner.store_id, owner.generation)
    assert await store.task("", one.id) == one
    await store.close()


async def test_tables_of_somebody_else_are_left_alone(file: Path, url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("create table task (what text)")

    with pytest.raises(StoreProblem, match="something else"):
        await put(url, file)
    with pytest.raises(StoreProblem, match="something else"):
        await kept(url, file.with_name("back.db"))

    assert await connection.fetch("select * from task") == []
    await connection.close()


async def test_an_empty_database_is_no_backup(file: Path, url: str) -> None:
    with pytest.raises(StoreProblem, match="empty"):
        await kept(url, file.with_name("back.db"))
