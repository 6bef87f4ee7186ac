"""What befalls a store whose ledger goes on: it is slow, it takes no writes, its disk is full."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from pathlib import Path

import asyncpg
import psutil

from cluster.remote import LEDGER, Remote
from tests.postgres import OwnServer
from tests.processes import title_of

from .history import read
from .sites import Site

CLIENTS = 12
SECONDS = 10.0  # of trouble: less than a lease
BEFORE, SOON = 2.0, 1.0  # seconds before it begins, and after which a store takes nothing more that was on its way
HELD, FREE = 0.2, 0.1  # seconds for which a slow store keeps each commit waiting, and lets some pass
SMALL = 4096  # bytes: less than any commit writes behind the head of the log

Trouble = AbstractContextManager[None] | AbstractAsyncContextManager[None]
Say = Callable[[str, object], None]


async def live_through(site: Site, trouble: Trouble, say: Say) -> int:
    """Load before, during and after the trouble, and a look at the whole history; how many tasks were accepted while
    it lasted."""
    pid = await Remote(LEDGER).call("pid", patience=10)
    accepted = 0

    async def meanwhile() -> None:
        nonlocal accepted
        await asyncio.sleep(BEFORE)
        async with entered(trouble):
            await asyncio.sleep(SOON)
            before = len(site.told.names)
            await asyncio.sleep(SECONDS - SOON)
            accepted = len(site.told.names) - before
        await asyncio.sleep(2)

    # Whoever waits for a task when it begins waits on; one at least comes with something new.
    took = await site.loaded(CLIENTS, secrets.randbits(32), meanwhile(), late=BEFORE + 2 * SOON)

    history = await read(site.rubato.ledger, site.told, site.trace)
    say("report", "\n  ".join([f"{SECONDS:.0f} s of trouble, {took:.0f} s in all", *history.report()]))
    assert history.breaches() == []
    assert await Remote(LEDGER).call("pid", patience=10) == pid, "the ledger outlives its store's trouble"
    assert max(Counter((task, step) for task, step, _ in history.starts).values()) == 1, "leases outlast it"
    return accepted


@asynccontextmanager
async def entered(trouble: Trouble) -> AsyncIterator[None]:
    if isinstance(trouble, AbstractContextManager):
        with trouble:
            yield
    else:
        async with trouble:
            yield


@asynccontextmanager
async def slow(store: Path) -> AsyncIterator[None]:
    """Nearly every commit waits for another who writes."""

    async def write() -> None:
        while True:
            with locked(store):
                await asyncio.sleep(HELD)
            await asyncio.sleep(FREE)

    writing = asyncio.create_task(write())
    yield
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Another connection writes, and does not end."""
    other = sqlite3.connect(store, isolation_level=None, timeout=30)
    try:
        other.execute("begin immediate")
        yield
    finally:
        other.close()


@contextmanager
def full(pid: int) -> Iterator[None]:
    """No file of this process may grow: to it that is a disk without room."""
    process = psutil.Process(pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


@contextmanager
def silent(server: OwnServer, database: str) -> Iterator[None]:
    """The server's processes that serve this database stand still."""
    backends = [each for each in psutil.Process(server.pid).children() if f" {database} " in title_of(each)]
    assert backends, "nobody is connected to the database"
    for backend in backends:
        backend.suspend()
    try:
        yield
    finally:
        for backend in backends:
            with suppress(psutil.NoSuchProcess):
                backend.resume()


@asynccontextmanager
async def read_only(server: OwnServer) -> AsyncIterator[None]:
    """The server refuses every write, as a standby does."""
    connection = await asyncpg.connect(server.url)
    try:
        await _set_read_only(connection, "on")
        yield
    finally:
        await connection.execute("set default_transaction_read_only = off")
        await _set_read_only(connection, "off")
        await connection.close()


async def _set_read_only(connection: asyncpg.Connection, value: str) -> None:
    await connection.execute(f"alter system set default_transaction_read_only = {value}")
    await connection.execute("select pg_reload_conf()")
