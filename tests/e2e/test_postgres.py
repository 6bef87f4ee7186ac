"""`./rubato up --store postgresql://...`: the tasks are on the server, whatever becomes of everything here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.e2e.commands import House, house
from tests.postgres import OwnServer
from tests.processes import command

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def kill_ledger(made: House) -> None:
    (ledger,) = [process for process in made.processes() if command(process)[:1] == ["ray::Ledger"]]
    ledger.kill()


async def count(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("select count(*) from task"))
    finally:
        await connection.close()


@pytest.mark.long
def test_the_tasks_outlive_the_ledger_down_and_the_server(tmp_path: Path, postgres_url: str) -> None:
    password = str(urlsplit(postgres_url).password)
    with house(tmp_path) as made:
        up = made.up("--store", postgres_url)
        assert up.returncode == 0, up.stderr
        first = made.json("submit", "echo", '{"text": "first"}', "--wait")["task"]
        status = made.json("status")

        kill_ledger(made)
        second = made.json("submit", "echo", '{"text": "second"}', "--wait")["task"]
        down = made.end("down")
        there = asyncio.run(count(postgres_url))
        again = made.up()
        tasks = made.json("tasks")["items"]

        assert [first["output"], second["output"]] == [{"text": "first"}, {"text": "second"}]
        assert status["store"] == postgres_url.replace(password, "***")
        assert status["store_bytes"] is None
        assert "postgresql://" in down.stderr
        assert there == 2
        assert again.returncode == 0, again.stderr
        assert [task["id"] for task in tasks] == [second["id"], first["id"]]
        assert password not in up.stderr + up.stdout + down.stderr + again.stderr


@pytest.mark.long
def test_a_store_that_cannot_be_had_is_named_in_a_sentence_and_nothing_stays(
    tmp_path: Path, own_postgres: OwnServer
) -> None:
    url = urlsplit(own_postgres.url)
    wrong = url._replace(netloc=f"{url.username}:sesame@{url.hostname}:{url.port}").geturl()
    with house(tmp_path) as made:
        up = made.up("--store", wrong)

        assert up.returncode == 1
        assert f"postgresql://{url.username}:***@{url.hostname}:{url.port}/postgres: password auth" in up.stderr
        assert "sesame" not in up.stderr + up.stdout + (made.state / "logs" / "up.log").read_text()
        assert "Traceback" not in up.stderr
        assert made.processes() == []
