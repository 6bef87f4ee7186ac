"""Who waits for a PostgreSQL that says nothing, is slow, or is not asked any more: none does for ever."""

from __future__ import annotations

import asyncio
import socket

import pytest

from cluster import postgres_link, postgres_writer
from cluster.errors import Unavailable
from cluster.postgres import PostgresStore
from cluster.store import StoreFailed

from .making import task
from .on_postgres import held, opened, proxied, tick, waiting
from .proxy import Proxy
from .rows import new

store = proxied  # what a test here gets as its `store`


async def test_a_server_that_falls_silent_is_given_up_and_found_again(
    postgres_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "MARGIN", 0.1)
    monkeypatch.setattr(postgres_writer, "UNKNOWN", 0.2)
    async with opened(f"{proxy.url}?statement_timeout=300ms&connect_timeout=0.3s") as store:
        one = task()
        await store.commit(new(one))
        assert await store.task("", one.id) == one
        proxy.hold(forth=True, back=True)

        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await store.commit(new(task()))
            with pytest.raises(Unavailable):
                await store.task("", one.id)
            with pytest.raises(Unavailable):
                await asyncio.gather(*(store.task("", one.id) for _ in range(20)))
        proxy.resume()

        await asyncio.sleep(2 * postgres_link.PAUSE)
        assert await store.task("", one.id) == one
        await store.commit(new(task()))


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgres_url: str) -> None:
    async with opened(f"{postgres_url}?statement_timeout=200ms") as store:
        async with held(postgres_url, "lock table task in access exclusive mode"):
            with pytest.raises(StoreFailed, match="statement timeout"):
                await store.commit(new(task()))
            with pytest.raises(StoreFailed, match="statement timeout"):
                await store.running()
        await store.commit(new(one := task()))

        assert await store.task("", one.id) == one
        assert await tick(postgres_url) == 1


async def test_the_system_watches_over_every_connection(store: PostgresStore) -> None:
    await store.task("", "x")
    connections = [(await store._writer.session()).connection, *store._asked._idle]

    assert len(connections) == 2
    for connection in connections:
        peer: socket.socket = connection._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = postgres_link.SILENCE * 1000
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds


async def test_a_cancelled_read_leaves_no_connection_in_the_way(store: PostgresStore, postgres_url: str) -> None:
    async with held(postgres_url, "lock table task in access exclusive mode"):
        reads = [asyncio.create_task(store.task("", "x")) for _ in range(8)]
        await waiting(postgres_url, 4)
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)

    async with asyncio.timeout(5):
        assert await store.task("", "x") is None
