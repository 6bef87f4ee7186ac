"""Conversations over WebSockets: how long a turn takes, and what a thousand sockets that say nothing weigh."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .local import MB, memory_of
from .waiting import answers, commits, summary

TIMES = 500  # turns ...
ROUNDS = 9  # ... in each of these
WARM = 200
IDLE = 1000
SETTLE = 3.0  # seconds
TEXT = 0x1  # what a frame is
LONGER, FAR = 126, 127  # in place of its length, where that follows

TURN = json.dumps({"type": "input", "id": "1", "input": {"text": "hello"}})


class Asked(NamedTuple):
    """Where TURN is said, and what the frame contains that ends it."""

    url: str
    expect: str


class Socket:
    """A client that offers no compression, and costs next to nothing."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = socket.create_connection((parts.hostname or "", parts.port or 80))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heard = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._connection.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._heard:
            self._hear()
        head, self._heard = self._heard.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionRefusedError(head.decode())

    def send(self, text: str) -> None:
        """One frame of less than 126 bytes, masked with zeros: it costs nothing, and is as good."""
        data = text.encode()
        self._connection.sendall(bytes([0x80 | TEXT, 0x80 | len(data), 0, 0, 0, 0]) + data)

    def receive(self) -> str:
        """The text of the next frame. Raises ConnectionResetError where it is none."""
        while (frame := self._frame()) is None:
            self._hear()
        text, self._heard = frame
        return text.decode()

    def _frame(self) -> tuple[bytes, bytes] | None:
        """The next text, and what follows it; None where it has not come whole."""
        heard = self._heard
        if len(heard) < 4:
            return None
        if heard[0] & 0xF != TEXT or heard[1] == FAR:
            raise ConnectionResetError(f"no text came: {heard[:200]!r}")
        begins, length = (4, int.from_bytes(heard[2:4])) if heard[1] == LONGER else (2, heard[1])
        ends = begins + length
        return None if len(heard) < ends else (heard[begins:ends], heard[ends:])

    def close(self) -> None:
        self._connection.close()

    def _hear(self) -> None:
        data = self._connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the socket was closed")
        self._heard += data


def measure(url: str) -> dict[str, Any]:
    """Of the Rubato at `url`: a turn that remembers something, what its commit takes, and sockets at rest."""
    agents = f"{url}/v1/agents"
    return {
        "remembers": turns(Asked(f"{agents}/counts/session", '"output"')),
        "commit_ms": round(commits(url, TIMES)["p50_ms"] - answers(url, TIMES)["p50_ms"], 3),
        "idle": idle(f"{agents}/echo/session", "echo"),
    }


def in_turn(*asked: Asked) -> list[dict[str, Any]]:
    """p50 and p99 of a turn of each, the medians of rounds in which all have theirs."""
    rounds = [[turns(each) for each in asked] for _ in range(ROUNDS)]
    return [
        {
            **{name: median(one[name] for one in of_one) for name in ("p50_ms", "p99_ms")},
            "rounds": [one["p50_ms"] for one in of_one],
        }
        for of_one in zip(*rounds, strict=True)
    ]


def turns(asked: Asked) -> dict[str, Any]:
    """p50 and p99 of a turn over a socket of its own."""
    with _open(asked.url) as line:
        return summary([_turn(line, TURN, asked.expect) for _ in range(WARM + TIMES)][WARM:])


def idle(url: str, agent: str) -> dict[str, Any]:
    """What so many sockets add to the memory of the agent's one replica."""
    with ExitStack() as sockets:
        sockets.enter_context(_open(url))
        before = memory_of(agent)
        for _ in range(IDLE):
            sockets.enter_context(_open(url))
        time.sleep(SETTLE)
        return {"sockets": IDLE, "memory_grew_mb": round((memory_of(agent) - before) / MB, 1)}


@contextmanager
def _open(url: str) -> Iterator[Socket]:
    line = Socket(url)
    try:
        yield line
    finally:
        line.close()


def _turn(line: Socket, says: str, expect: str) -> float:
    began = time.perf_counter()
    line.send(says)
    while expect not in line.receive():
        pass
    return time.perf_counter() - began
