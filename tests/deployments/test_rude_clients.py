"""Clients that read next to nothing, or send far too much, over real sockets: they harm nobody but themselves."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.config import HTTP_PROTOCOLS
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from agents.artifacts import FolderArtifacts
from agents.catalog import load
from deployments.replica import Links, Replica
from deployments.servestate import Counting
from deployments.shortcut import Shortcut
from deployments.wire import speak

from .acting import Act
from .callers import called_by
from .ledgers import Unreachable

pytestmark = pytest.mark.slow

LOUD = 200_000  # events: far more than all buffers on the way hold
SECONDS = 3  # of one byte each
TEN_MB = 10 * 1024 * 1024


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A replica behind the server that Serve runs it with, spoken to as there."""
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", "")
    Act.cancelled.clear()
    entry, shortcut = load("tests.deployments.acting:Act"), Shortcut()
    links = Links(Unreachable(), Unreachable())
    app = called_by(Replica(entry, entry.agent(), Act.realtime, partial(FolderArtifacts, tmp_path), links))
    shortcut.open(app, Counting("/v1/agents/act", lambda: None, lambda: None))
    speak(shortcut)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def others_are_answered(http: httpx.AsyncClient) -> None:
    for _ in range(20):
        assert (await http.post("/v1/agents/act/run", json={"text": "hi"})).json() == {"text": "hi"}


async def test_a_client_that_reads_a_byte_a_second_holds_up_its_own_run_only(url: str) -> None:
    host, _, port = url.partition(":")
    body = json.dumps({"do": "chatter", "text": str(LOUD)})
    asked = f"POST /v1/agents/act/run HTTP/1.1\r\nHost: {url}\r\nAccept: text/event-stream\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (host, int(port)))
        await loop.sock_sendall(slow, f"{asked}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        read = b""
        async with httpx.AsyncClient(base_url=f"http://{url}") as http:
            for _ in range(SECONDS):
                read += await loop.sock_recv(slow, 1)
                await others_are_answered(http)
                await asyncio.sleep(1)
            told = len(Act.cancelled)
            assert 0 < told < LOUD
            assert len(read) == SECONDS
            await others_are_answered(http)
    async with asyncio.timeout(5):
        while any("_compute" in repr(task) for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
    assert len(Act.cancelled) < LOUD  # with its connection its run ended


async def test_ten_megabytes_over_a_websocket_end_it_and_no_other(url: str) -> None:
    async with (
        connect(f"ws://{url}/v1/agents/act/session", compression=None) as other,
        connect(f"ws://{url}/v1/agents/act/session", compression=None) as socket,
    ):
        await other.recv()
        await socket.recv()
        turn = {"type": "input", "id": "1", "input": {"text": "a" * TEN_MB}}

        await socket.send(json.dumps(turn))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await other.send(json.dumps({**turn, "input": {"text": "hi"}}))
        assert json.loads(await other.recv())["output"] == {"text": "hi"}


async def test_bytes_over_a_websocket_end_it(url: str) -> None:
    async with connect(f"ws://{url}/v1/agents/act/session") as socket:
        await socket.recv()

        await socket.send(b"\x00\x01")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
