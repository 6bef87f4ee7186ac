"""A server that stands still or takes no writes: callers are told, and nothing is lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from tests.postgres import OwnServer, make_database

from .sites import Site, site
from .troubles import Say, live_through, read_only, silent

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def database() -> str:
    return f"trouble_{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, own_postgres: OwnServer, database: str) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("state"), asyncio.run(make_database(own_postgres, database))) as found:
        yield found


async def test_while_the_server_stands_still_nothing_is_accepted_and_nothing_lost(
    on_postgres: Site, own_postgres: OwnServer, database: str, record_property: Say
) -> None:
    assert await live_through(on_postgres, silent(own_postgres, database), record_property) == 0


async def test_while_the_server_takes_no_writes_callers_are_told_to_come_again(
    on_postgres: Site, own_postgres: OwnServer, record_property: Say
) -> None:
    asked = on_postgres.told.replays

    accepted = await live_through(on_postgres, read_only(own_postgres), record_property)

    assert accepted == 0
    assert on_postgres.told.replays > asked
