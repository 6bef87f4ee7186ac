"""The server that the tests use is a real one, durable, and theirs alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import asyncpg
import psutil
import pytest

from cluster import processes
from tests.postgres import DURABLE, FOLDERS, PREFIX, OwnServer, is_there, make_empty, postgres

pytestmark = pytest.mark.slow


async def query(url: str, statement: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [str(row[0]) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def test_where_changes_are_judged_there_is_a_server() -> None:
    assert os.environ.get("CI") != "true" or is_there()


@pytest.mark.parametrize("setting", DURABLE)
async def test_what_it_acknowledges_is_on_disk(postgres_url: str, setting: str) -> None:
    assert await query(postgres_url, f"show {setting}") == ["on"]


@pytest.mark.parametrize("turn", [1, 2])
async def test_every_test_finds_an_empty_database(postgres_url: str, turn: int) -> None:
    tables = "select tablename from pg_tables where schemaname = 'public'"

    assert await query(postgres_url, tables) == []
    await query(postgres_url, "create table left_behind ()")
    assert await query(postgres_url, tables) == ["left_behind"]


async def test_a_connection_that_an_earlier_test_left_open_can_change_nothing_any_more(postgres_url: str) -> None:
    earlier = await asyncpg.connect(postgres_url)

    await make_empty(postgres_url)

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await earlier.execute("create table late ()")


async def test_a_killed_server_comes_back_with_what_it_acknowledged_and_at_the_same_place(
    own_postgres: OwnServer,
) -> None:
    await query(own_postgres.url, "create table kept as select 7 as n")
    family = [psutil.Process(own_postgres.pid), *psutil.Process(own_postgres.pid).children()]

    await asyncio.to_thread(own_postgres.kill)
    assert not any(process.is_running() for process in family)
    thread = threading.Thread(target=own_postgres.restart)
    thread.start()
    await asyncio.to_thread(thread.join)

    assert await query(own_postgres.url, "select n from kept") == ["7"]
    await query(own_postgres.url, "drop table kept")


def test_one_that_was_started_again_beside_a_cluster_outlives_it(
    own_postgres: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(processes.MARK, "a-cluster")

    own_postgres.restart()

    assert processes.marked("a-cluster") == []


@pytest.mark.postgres
def test_nothing_of_it_is_left() -> None:
    with postgres() as server:
        folder = server._folder
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        assert len(family) > 1

    assert not any(process.is_running() for process in family)
    assert not folder.exists()


HOLDER = """
import time
from tests.postgres import postgres
with postgres() as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.postgres
def test_it_ends_with_the_process_that_started_it_even_where_that_is_killed() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    server = psutil.Process(int(holder.stdout.readline()))

    holder.kill()
    holder.wait()
    server.wait(20)

    assert not server.is_running()
    with postgres():
        assert not list(FOLDERS.glob(f"{PREFIX}{holder.pid}-*"))
