"""Three times as many requests as an agent has room for: who is accepted is in time, who is not is told at once."""

from __future__ import annotations

import asyncio
import time
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from .connection import body_of, request
from .local import MB, memory_of

BODY = '{"text": "hello"}'
RATE = 480  # requests a second, to an agent that has room for 160
SECONDS = 60.0
CONNECTIONS = 400


class Line(asyncio.Protocol):
    """One connection, which asks when it is told to and is free again when it has its answer."""

    def __init__(self, asked: bytes, free: list[Line], heard: list[tuple[int, float]]) -> None:
        self._asked = asked
        self._free = free
        self._heard = heard
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._free.append(self)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if body_of(self._answer) is not None:
            self._heard.append((int(self._answer[9:12]), time.perf_counter() - self._since))
            self._answer = b""
            self._free.append(self)

    def ask(self) -> None:
        self._since = time.perf_counter()
        self._transport.write(self._asked)

    def close(self) -> None:
        self._transport.close()


def measure(url: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Times of the answers by status, and what the replica's memory grew by."""
    before = memory_of("busy")
    heard = asyncio.run(_offer(f"{url}/v1/agents/busy/run", seconds))
    accepted = sorted(taken for status, taken in heard if status == 200)
    refused = sorted(taken for status, taken in heard if status == 429)
    other = len(heard) - len(accepted) - len(refused)
    return {
        "offered_per_s": round(len(heard) / seconds, 1),
        "accepted": _times(accepted),
        "refused": _times(refused),
        "other": other,
        "memory_grew_mb": round((memory_of("busy") - before) / MB, 1),
    }


def _times(found: list[float]) -> dict[str, float]:
    return {
        "requests": len(found),
        "p50_ms": round(median(found) * 1000, 2),
        "p99_ms": round(quantiles(found, n=100)[98] * 1000, 2),
    }


async def _offer(url: str, seconds: float) -> list[tuple[int, float]]:
    """Ask so often, whether answers come or not."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    free: list[Line] = []
    heard: list[tuple[int, float]] = []
    asked = request("POST", url, BODY)
    lines = []
    for _ in range(CONNECTIONS):
        made = await loop.create_connection(lambda: Line(asked, free, heard), parts.hostname or "", parts.port or 80)
        lines.append(made[1])
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while sent < now * RATE and free:
            free.pop().ask()
            sent += 1
        await asyncio.sleep(0.001)
    while len(heard) < sent:
        await asyncio.sleep(0.01)
    for line in lines:
        line.close()
    return heard
