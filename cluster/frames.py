"""Numbered messages over one connection: those that are sent in one turn of the loop leave in one piece."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, cast

HEAD = struct.Struct("!IQ")  # how many bytes follow, and the number they belong to
LARGEST = 256 * 2**20  # bytes of one message
HELD = 64 * 1024  # bytes that wait for the end of the turn at most
SILENCE = 15  # seconds after which a machine that does not even acknowledge is taken for gone


class Frames(asyncio.Protocol):
    """One end of a connection. A subclass gets every message in `received`, and hears in `over` that it was the last.

    `largest` bounds what is taken in: one byte more, and the connection is closed before any of it is read.
    """

    largest = LARGEST

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.open = False
        self.transport: Any = None
        self._held: list[bytes] = []
        self._size = 0
        self._part = bytearray()
        self._wanted = HEAD.size

    def received(self, number: int, body: memoryview) -> None:
        """A whole message has come."""

    def over(self, why: str) -> None:
        """The connection has ended."""

    def send(self, number: int, body: bytes) -> None:
        """Queue a message; after the end of the connection it goes nowhere."""
        if not self._held:
            self.loop.call_soon(self._flush)
        self._held.append(HEAD.pack(len(body), number) + body)
        self._size += HEAD.size + len(body)
        if self._size >= HELD:
            self._flush()

    def abort(self) -> None:
        """Close it at once; what was not sent is not."""
        if self.open:
            self.open = False
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.open = True
        _notice_silence(transport.get_extra_info("socket"))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._held.clear()
        self._part.clear()
        self.over(str(error or "it was closed"))

    def data_received(self, data: bytes | bytearray) -> None:
        if self._part:
            self._part += data
            if len(self._part) < self._wanted:
                return
            data, self._part = self._part, bytearray()  # a new one: pieces of the old may still be in use
        self._take(memoryview(data))

    def _take(self, chunk: memoryview) -> None:
        at, end = 0, len(chunk)
        self._wanted = HEAD.size
        while self.open and end - at >= HEAD.size:
            size, number = HEAD.unpack_from(chunk, at)
            if size > self.largest:
                self.abort()
                return
            if end - at < HEAD.size + size:
                self._wanted = HEAD.size + size
                break
            at += HEAD.size
            self.received(number, chunk[at : at + size])
            at += size
        if at < end:
            self._part = bytearray(chunk[at:])

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and self.open:
            self.transport.write(held[0] if len(held) == 1 else b"".join(held))


def _notice_silence(found: socket.socket) -> None:
    """Have the kernel notice when the other machine is gone: it says no farewell, and a call would wait for ever."""
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = {"TCP_KEEPIDLE": SILENCE // 3, "TCP_KEEPINTVL": SILENCE // 3, "TCP_KEEPCNT": 2}
    options["TCP_USER_TIMEOUT"] = SILENCE * 1000
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        if hasattr(socket, name):  # not every system has each
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
