"""What is said over a WebSocket reaches who listens, in order and once, however its bytes come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from deployments import textframes
from deployments.eager import begin
from deployments.servestate import Counting
from deployments.shortcut import Shortcut
from deployments.wire import LISTEN, speak

LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 100_000]


class Listener:
    """Says what it hears: `now` what it was handed and could answer at once, `late` what it could not, and `then` what
    it received, as it must where it takes nothing now."""

    def __init__(self) -> None:
        self.takes = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

        async def say_later(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        def hear(text: str) -> bool:
            if self.takes and not say(f"now {text}"):
                begin(say_later(f"late {text}"))
            return self.takes

        say = scope[LISTEN](hear)
        while (message := await receive())["type"] == "websocket.receive":
            said = message.get("text") or message["bytes"].decode()
            await send({"type": "websocket.send", "text": f"then {said}"})


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture
async def url(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", "")
    shortcut = Shortcut()
    shortcut.open(listener, Counting("", lambda: None, lambda: None))
    speak(shortcut)
    server = uvicorn.Server(uvicorn.Config(listener, port=0, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    await serving


@pytest.mark.parametrize(("compression", "when"), [(None, "now"), ("deflate", "late")])
async def test_a_text_of_any_length_is_handed_over_and_answered(url: str, compression: Any, when: str) -> None:
    async with connect(url, compression=compression) as socket:
        for text in ("ä" * length for length in LENGTHS):
            await socket.send(text)

            assert await heard(socket) == f"{when} {text}"


async def test_who_reads_nothing_is_not_answered_at_once_and_gets_all_in_order(url: str) -> None:
    texts = [f"{number} {'x' * 60_000}" for number in range(200)]
    async with connect(url, compression=None, max_queue=1) as socket, asyncio.timeout(20):
        for text in texts:
            await socket.send(text)
        said = [(await heard(socket)).partition(" ") for _ in texts]

    assert [text for _, _, text in said] == texts
    assert {when for when, _, _ in said} == {"now", "late"}


async def test_nothing_is_lost_where_frames_come_in_pieces_or_together(url: str) -> None:
    async with connect(url, compression=None) as socket:
        one, two, three = (frame(text) for text in ("one", "two", "three"))
        for piece in (one, two + three, one[:1], one[1:7], one[7:] + two[:3], two[3:], three):
            socket.transport.write(piece)
            await asyncio.sleep(0.02)

        assert [await heard(socket) for _ in range(6)] == [f"now {said}" for said in ("one", "two", "three") * 2]


async def test_a_message_in_fragments_with_a_pong_between_is_one(url: str) -> None:
    async with connect(url, compression=None) as socket:
        await socket.ping()
        socket.transport.write(Frame(Opcode.PONG, b"").serialize(mask=True))
        await asyncio.sleep(0.02)
        await socket.send(["o", "n", "e"])
        assert await heard(socket) == "now one"

        await socket.send("two")

        assert await heard(socket) == "now two"


async def test_a_text_within_a_fragmented_message_breaks_the_protocol(url: str) -> None:
    async with connect(url, compression=None) as socket:
        socket.transport.write(Frame(Opcode.TEXT, b"o", fin=False).serialize(mask=True))
        await asyncio.sleep(0.02)
        socket.transport.write(frame("two"))
        await asyncio.wait_for(socket.wait_closed(), 5)

        assert socket.close_code == 1002


async def test_what_is_not_taken_is_received_and_not_overtaken(url: str, listener: Listener) -> None:
    async with connect(url, compression=None) as socket:
        listener.takes = False
        await socket.send("one")
        assert await heard(socket) == "then one"
        listener.takes = True
        await socket.send(b"two")
        socket.transport.write(frame("three"))

        assert await heard(socket) == "then two"
        assert (await heard(socket)).endswith(" three")


async def test_what_is_no_utf8_closes_the_socket(url: str) -> None:
    async with connect(url, compression=None) as socket:
        socket.transport.write(Frame(Opcode.TEXT, b"\xff").serialize(mask=True))
        await asyncio.wait_for(socket.wait_closed(), 5)

        assert socket.close_code == 1007


@pytest.mark.parametrize("length", LENGTHS)
def test_a_whole_text_is_read_in_one_go_and_no_part_of_one(length: int) -> None:
    text = bytes(range(256)) * (length // 256) + bytes(range(length % 256))
    data = Frame(Opcode.TEXT, text).serialize(mask=True)

    assert textframes.read(data) == (text if length < 65536 else None)
    assert textframes.read(data[:-1]) is None
    assert textframes.read(data + data) is None
    assert textframes.are_whole(data + data) == (length < 65536)
    assert not textframes.are_whole(data + data[:3])
    assert textframes.written(text) == Frame(Opcode.TEXT, text).serialize(mask=False)


async def heard(socket: ClientConnection) -> str:
    return str(await asyncio.wait_for(socket.recv(), 5))


def frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
