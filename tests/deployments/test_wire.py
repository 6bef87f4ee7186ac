"""That joined writes lose nothing, keep their order and hold nobody up, and a request on the shortcut ends with its
connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS
from websockets.asyncio.client import connect

from deployments.servestate import Counting
from deployments.shortcut import Shortcut
from deployments.wire import HELD, Joining, speak


class Recorded:
    """A transport that keeps what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def write_eof(self) -> None:
        self.told.append("eof")

    def close(self) -> None:
        self.told.append("close")

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


async def test_the_writes_of_one_turn_leave_together_at_its_end() -> None:
    under = Recorded()
    transport = Joining(under)  # type: ignore[arg-type]

    transport.write(b"head ")
    transport.writelines([b"body", bytearray(b" end")])  # type: ignore[list-item]
    assert under.told == []
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)

    assert under.told == [b"head body end", b"next"]


async def test_an_end_comes_after_what_was_written_before() -> None:
    under = Recorded()
    transport = Joining(under)  # type: ignore[arg-type]

    transport.write(b"a")
    transport.write_eof()
    transport.write(b"b")
    transport.close()
    await asyncio.sleep(0)

    assert under.told == [b"a", "eof", b"b", "close"]


async def test_much_is_not_held() -> None:
    under = Recorded()
    transport = Joining(under)  # type: ignore[arg-type]

    transport.write(b"x" * (HELD - 1))
    assert under.told == []
    transport.write(b"yz")

    assert [len(data) for data in under.told] == [HELD + 1]


async def test_all_else_is_the_transports() -> None:
    assert Joining(Recorded()).get_extra_info("peername") == "the peername"  # type: ignore[arg-type]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in two pieces; counts up on a stream; says on a socket what it hears."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        heard = await receive()
        await send({"type": "websocket.send", "text": heard["text"]})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})
    if scope["path"] == "/slow":
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"def"})


class Shorter:
    """An application on the shortcut: waits until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/short/ready":
            await app(scope, receive, send)
            return
        self.began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.ended.set_result("cancelled")
            raise


@pytest.fixture
async def shorter() -> Shorter:
    return Shorter()


@pytest.fixture
async def port(shorter: Shorter, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A uvicorn server that speaks so, with a shortcut for what is below `/short`."""
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", "")
    shortcut = Shortcut()
    shortcut.open(shorter, Counting("/short", lambda: None, lambda: None))
    speak(shortcut)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def test_answers_arrive_whole_one_after_another_on_one_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = await asyncio.wait_for(reader.read(), 5)

    assert said.count(b"HTTP/1.1 200 OK") == said.count(b"\r\n\r\nabcdef") == 3
    writer.close()


async def test_what_is_written_before_a_wait_does_not_wait(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    first = await asyncio.wait_for(reader.read(1000), 5)

    assert first.endswith(b"\r\n\r\nabc")
    assert await asyncio.wait_for(reader.read(1000), 5) == b"def"
    writer.close()


async def test_a_socket_goes_on_over_the_same_transport(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/") as socket:
        await socket.send("hello")

        assert await socket.recv() == "hello"


async def test_a_request_on_the_shortcut_ends_with_its_connection(port: int, shorter: Shorter) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /short/wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(shorter.began.wait(), 5)
    assert not shorter.ended.done()

    writer.close()

    assert await asyncio.wait_for(shorter.ended, 5) == "cancelled"


async def test_an_answer_on_the_shortcut_arrives_whole(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    writer.write(b"GET /short/ready HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    said = await asyncio.wait_for(reader.read(), 5)

    assert said.count(b"\r\n\r\nabcdef") == 3
    writer.close()
