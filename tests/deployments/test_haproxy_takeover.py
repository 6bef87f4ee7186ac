"""That a client whose stream outlasts a HAProxy asks the one that took over next, with its replicas."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from deployments.ingress import WRAPPER, free_ports, haproxy

# Only on Linux: that it is found there, test_ingress.py asserts, so that CI does not skip this.
pytestmark = pytest.mark.skipif(haproxy() is None, reason="Ray brings no HAProxy here")

STREAMED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CONFIG = """
global
    stats socket {folder}/socket mode 600 level admin expose-fd listeners
    hard-stop-after 60s
defaults
    mode http
    option redispatch 1
    option idle-close-on-response
    retry-on conn-failure
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend replicas
backend replicas
    http-reuse always
    server replica 127.0.0.1:{replica}
"""


class Replica:
    """Streams an event, and the end once it is told to; anything else it answers with its name."""

    def __init__(self, name: str) -> None:
        self.end = asyncio.Event()
        self._name = name.encode()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """On this port; from then on it refuses, and goes on with what it has."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/stream" in head:
            writer.write(STREAMED + b"5\r\nevent\r\n")
            await self.end.wait()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self._name), self._name))
        writer.close()  # as Serve's replicas do that end


def configured(folder: Path, port: int, replica: int) -> Path:
    """The configuration of a HAProxy, in a folder of its own."""
    folder.mkdir()
    config = folder / "haproxy.cfg"
    config.write_text(CONFIG.format(folder=folder, port=port, replica=replica))
    return config


@asynccontextmanager
async def balancer(config: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A HAProxy as Serve starts it."""
    env = {**os.environ, "HAPROXY": str(haproxy())}
    process = await asyncio.create_subprocess_exec(WRAPPER, "-db", "-f", str(config), *arguments, env=env)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_it_answers(http: httpx.AsyncClient, name: str) -> None:
    """Over a new connection each time."""
    async with asyncio.timeout(10):
        while True:
            try:
                answer = await http.get("/", headers={"Connection": "close"})
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
                continue
            if answer.text == name:
                return
            await asyncio.sleep(0.02)


async def test_the_next_request_after_a_stream_goes_to_the_replicas_that_there_are_by_then(tmp_path: Path) -> None:
    old, new = Replica("old"), Replica("new")
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        http, other = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10))
            for _ in range(2)
        ]
        async with old.listening() as replica:
            first = await stack.enter_async_context(balancer(configured(tmp_path / "a", port, replica)))
            await until_it_answers(other, "old")
            stream = await stack.enter_async_context(http.stream("GET", "/stream"))
            replica = await stack.enter_async_context(new.listening())
            takeover = "-x", str(tmp_path / "a" / "socket"), "-sf", str(first.pid)
            await stack.enter_async_context(balancer(configured(tmp_path / "b", port, replica), *takeover))
            await until_it_answers(other, "new")

        old.end.set()
        told = await stream.aread()
        answer = await http.get("/")

        assert (told, answer.status_code, answer.text) == (b"event", 200, "new")
        async with asyncio.timeout(10):
            await first.wait()
