"""The store in a PostgreSQL keeps the contract, and takes no database that it must not have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from cluster import postgres_schema
from cluster.apikeys import ApiKey
from cluster.errors import StoreProblem
from cluster.postgres import PostgresStore
from cluster.postgres_schema import ROWS, VERSION
from cluster.sessions import Session
from cluster.store import Queue, Store, Writes
from cluster.stores import store_at
from tests.postgres import OwnServer, Server, drop_database, postgres

from .making import task
from .on_postgres import opened, say, take
from .rows import new, step_row
from .store_contract import StoreContract


class TestPostgresStore(StoreContract):
    @pytest.fixture(autouse=True)
    async def _database(self, postgres_url: str) -> AsyncIterator[None]:
        self.url = postgres_url
        self.others: list[PostgresStore] = []
        yield
        for other in self.others:
            await other.close()

    def taken(self) -> tuple[Store, str, int]:
        owner = take(self.url)
        return PostgresStore(self.url), owner.store_id, owner.generation

    def again(self, store: Store) -> Store:
        self.others.append(PostgresStore(self.url))
        return self.others[-1]

    def retake(self, store: Store) -> tuple[str, int]:
        owner = take(self.url, create=False)
        return owner.store_id, owner.generation


def test_every_take_is_a_new_generation_of_the_same_store(postgres_url: str) -> None:
    first = take(postgres_url)

    assert take(postgres_url, create=False) == first._replace(generation=first.generation + 1)


def test_another_store_than_the_one_expected_is_refused_and_keeps_its_owner(postgres_url: str) -> None:
    owner = take(postgres_url)

    with pytest.raises(StoreProblem, match="not the store"):
        take(postgres_url, create=False, expect="another")

    assert take(postgres_url, create=False, expect=owner.store_id) == owner._replace(generation=owner.generation + 1)


def test_an_empty_database_in_the_place_of_a_store_is_refused_and_stays_empty(postgres_url: str) -> None:
    with pytest.raises(StoreProblem, match="gone"):
        take(postgres_url, create=False, expect="another")
    take(postgres_url)


def test_two_who_take_an_empty_database_at_once_take_it_one_after_the_other(postgres_url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        owners = list(threads.map(lambda _: take(postgres_url), range(3)))

    assert sorted(owner.generation for owner in owners) == [1, 2, 3]
    assert len({owner.store_id for owner in owners}) == 1


async def test_a_store_that_is_gone_is_an_error_and_never_a_fresh_one(postgres_url: str) -> None:
    with pytest.raises(StoreProblem, match="gone"):
        take(postgres_url, create=False)
    with pytest.raises(StoreProblem, match="gone"):
        await PostgresStore(postgres_url).open("any", 1)

    assert await say(postgres_url, "select 1 from pg_tables where schemaname='public'") == []


async def test_a_database_without_an_owner_is_not_resumed(postgres_url: str) -> None:
    take(postgres_url)
    await say(postgres_url, "delete from owner")

    with pytest.raises(StoreProblem, match="never taken"):
        await PostgresStore(postgres_url).open("any", 1)


async def test_a_store_of_a_newer_schema_is_refused(postgres_url: str) -> None:
    owner = take(postgres_url)
    await say(postgres_url, f"update rubato set version={VERSION + 1}")

    with pytest.raises(StoreProblem, match="newer Rubato"):
        take(postgres_url, create=False)
    with pytest.raises(StoreProblem, match="newer Rubato"):
        await PostgresStore(postgres_url).open(owner.store_id, owner.generation)


@pytest.mark.parametrize("by", ["take", "open"])
async def test_an_older_schema_moves_forward_and_keeps_what_it_has(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    async with opened(postgres_url) as store:
        await store.commit(new(one := task()))
        owner = store._writer._owner
    _newer(monkeypatch, "alter table task add column mood text", "alter table step alter column seq type bigint")

    if by == "take":
        owner = take(postgres_url, create=False)
    store = PostgresStore(postgres_url)
    await store.open(owner.store_id, owner.generation)
    writes = new(other := task())
    writes.steps.append(step_row(other, "think", 2**31))
    await store.commit(writes)

    assert await store.many([one.ref, other.ref]) == {one.ref: one, other.ref: other}
    assert [tuple(row) for row in await say(postgres_url, "select version from rubato")] == [(VERSION + 1,)]
    await store.close()


async def test_a_step_forward_that_fails_leaves_everything_as_it_was(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = take(postgres_url)
    with monkeypatch.context() as newer:
        _newer(newer, "alter table task add column mood text", "alter table nothing add column mood text")
        with pytest.raises(StoreProblem, match="nothing"):
            take(postgres_url, create=False)

    store = PostgresStore(postgres_url)
    await store.open(owner.store_id, owner.generation)
    assert "mood" not in {name for (name,) in await say(postgres_url, "select attname::text from pg_attribute")}
    await store.close()


async def test_a_database_from_before_there_were_keys_and_sessions_takes_them(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:1])
        older.setattr(postgres_schema, "VERSION", 1)
        older.setattr(postgres_schema, "_make_types", _no_types)  # which are of the records as they are now
        take(postgres_url)

    owner = take(postgres_url, create=False)
    store = PostgresStore(postgres_url)
    await store.open(owner.store_id, owner.generation)
    key = ApiKey("", "k1", "", "run", "d", 5.0)
    session = Session("", "support", "s", 1, "1", "w", 5.0)
    await store.commit(Writes(api_keys={("", "k1"): key}, sessions={session.ref: session}))

    assert await store.api_keys() == [key]
    assert await store.session(*session.ref) == session
    await store.close()


async def test_a_database_from_before_there_were_lanes_has_its_tasks_in_none(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(postgres_schema, "MIGRATIONS", postgres_schema.MIGRATIONS[:3])
        older.setattr(postgres_schema, "VERSION", 3)
        older.setattr(postgres_schema, "_make_types", _no_types)
        take(postgres_url)
    old = task()
    columns = ",".join(name for name in old._fields if name != "lane")
    values = ",".join("null" if value is None else repr(value) for value in old[:-1])
    await say(postgres_url, f"insert into task ({columns}) values ({values})")

    owner = take(postgres_url, create=False)
    store = PostgresStore(postgres_url)
    await store.open(owner.store_id, owner.generation)
    there = task(lane="a")
    await store.commit(new(there))

    assert await store.ready(Queue(old.agent, "", "", old.limit_key), 0.0, 9) == [old]
    assert await store.ready(Queue(old.agent, "a", "", old.limit_key), 0.0, 9) == [there]
    await store.close()


async def _no_types(db: Any) -> None:
    """As a version that knew other records."""


def _newer(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """As if this were the next version, whose schema needs these."""
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", (*postgres_schema.MIGRATIONS, statements))
    monkeypatch.setattr(postgres_schema, "VERSION", VERSION + 1)


@pytest.mark.parametrize("theirs", ["table task (n int)", "table rubato (title text)", "table rubato (version int)"])
async def test_a_database_of_something_else_is_refused_and_left_alone(postgres_url: str, theirs: str) -> None:
    await say(postgres_url, f"create {theirs}")

    with pytest.raises(StoreProblem, match="something else in it"):
        take(postgres_url)

    assert len(await say(postgres_url, "select 1 from pg_tables where schemaname='public'")) == 1


@pytest.mark.parametrize("parameter", ["search_path=fugue", f"options={quote('-c search_path=fugue,public')}"])
async def test_its_tables_lie_where_the_url_says(postgres_url: str, parameter: str) -> None:
    await say(postgres_url, "create table task (theirs int)", "drop schema if exists fugue cascade")
    url = f"{postgres_url}?{parameter}"
    with pytest.raises(StoreProblem, match=r"schema .* is not there|something else"):
        take(url)
    await say(postgres_url, "create schema fugue")

    owner = take(url)
    store = PostgresStore(url)
    await store.open(owner.store_id, owner.generation)
    await store.commit(new(one := task()))

    assert await store.task("", one.id) == one
    assert (await say(postgres_url, "select id from fugue.task"))[0][0] == one.id
    await store.close()
    await say(postgres_url, "drop schema fugue cascade")


async def test_the_rows_of_a_commit_follow_the_records_of_this_version(postgres_url: str) -> None:
    owner = take(postgres_url)
    await say(postgres_url, "drop type task_row", "create type task_row as (id text)", "drop type ref_row")
    store = PostgresStore(postgres_url)

    await store.open(owner.store_id, owner.generation)
    await store.commit(new(one := task()))

    assert await store.task("", one.id) == one
    assert len(await say(postgres_url, "select 1 from pg_class where relkind='c'")) == len(ROWS)
    await store.close()


def test_a_url_with_a_time_that_never_ends_is_refused() -> None:
    for parameter in ("connect_timeout=0", "statement_timeout=0", "statement_timeout=soon"):
        with pytest.raises(StoreProblem, match=parameter):
            store_at(f"postgresql://db/x?{parameter}")


def named(server: Server, user: str = "", password: str = "", database: str = "postgres", port: int = 0) -> str:
    url = urlsplit(server.url)
    host = f"{url.hostname}:{port or url.port}"
    return url._replace(netloc=f"{user or url.username}:{password or url.password}@{host}", path=database).geturl()


def test_what_cannot_be_reached_is_told_in_a_sentence_without_the_password(own_postgres: OwnServer) -> None:
    wrong = {
        "password authentication failed": named(own_postgres, password="secret1"),
        'role "nobody1"|authentication failed': named(own_postgres, user="nobody1", password="secret1"),
        'database "nowhere" does not exist': named(own_postgres, database="nowhere"),
        "does not answer": named(own_postgres, port=1),
    }
    for sentence, url in wrong.items():
        with pytest.raises(StoreProblem, match=sentence) as refused:
            take(url)

        assert "\n" not in str(refused.value)
        assert "***" in str(refused.value)
        assert str(urlsplit(url).password) not in str(refused.value)


async def test_a_server_that_accepts_and_says_nothing_is_not_waited_for(own_postgres: OwnServer) -> None:
    mute = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = mute.sockets[0].getsockname()[1]

    with pytest.raises(StoreProblem, match="no answer in time"):
        await asyncio.to_thread(take, named(own_postgres, port=port) + "?connect_timeout=0.3s")
    mute.close()


async def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: Server) -> None:
    name = "rubato_test_latin"
    await drop_database(postgres_server, name)
    await say(postgres_server.url, f"create database {name} encoding 'LATIN1' locale 'C' template template0")

    with pytest.raises(StoreProblem, match="UTF8"):
        take(postgres_server.database(name))
    await drop_database(postgres_server, name)


async def test_texts_are_in_the_order_of_their_bytes_whatever_the_database_thinks(postgres_url: str) -> None:
    take(postgres_url)

    collations = await say(
        postgres_url,
        "select distinct l.collname::text from pg_index i cross join unnest(i.indcollation) c(id)"
        " join pg_collation l on l.oid=c.id where i.indrelid::regclass::text not like 'pg_%'",
    )

    assert [name for (name,) in collations] == ["C"]


@pytest.mark.postgres
async def test_a_server_that_forgets_is_refused_unless_that_was_said() -> None:
    with postgres(fsync="off", synchronous_commit="off") as server:
        with pytest.raises(StoreProblem, match="fsync=off"):
            take(server.url)

        owner = take(f"{server.url}?fsync=off")
        store = PostgresStore(f"{server.url}?fsync=off")
        await store.open(owner.store_id, owner.generation)

        session = await store._writer.session()
        assert await session.connection.fetchval("show synchronous_commit") == "on"
        await store.close()
