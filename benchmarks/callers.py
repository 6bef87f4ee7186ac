"""Callers who each ask again as soon as they have their answer: as cheap as asyncio can be."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .connection import body_of, request


class Caller(asyncio.Protocol):
    """One of them, on one connection; it stops when `more` says so, or when its connection is lost."""

    def __init__(self, asked: bytes, more: Callable[[], bool]) -> None:
        self._asked = asked
        self._more = more
        self._answer = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.lost = True
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if body_of(self._answer) is not None:
            self.times.append(time.perf_counter() - self._since)
            self.statuses[int(self._answer[9:12])] += 1
            self._ask()

    def _ask(self) -> None:
        if self._more():
            self._answer = b""
            self._since = time.perf_counter()
            self._transport.write(self._asked)
        else:
            self.ended.set_result(None)
            self._transport.close()


async def callers_until(
    url: str, body: str, connections: int, more: Callable[[], bool], **headers: str
) -> list[Caller]:
    """POST `body` over so many connections for as long as `more` says, which is asked before each request."""
    parts = urlsplit(url)
    asked = request("POST", url, body, **headers)
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: Caller(asked, more), parts.hostname or "", parts.port or 80)
        callers.append(caller)
    await asyncio.gather(*(caller.ended for caller in callers))
    return callers
