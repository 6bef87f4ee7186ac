"""How soon the first event of a stream comes: one stream after the other, over new connections."""

from __future__ import annotations

import socket
import time
from typing import Any
from urllib.parse import urlsplit

from .connection import request
from .waiting import summary

BODY = '{"text": "hello"}'
TIMES = 300
WARM = 30


def measure(url: str, times: int = TIMES) -> dict[str, Any]:
    """p50 and p99 from the request to the first byte of its first event."""
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port or 80
    asked = request("POST", url, BODY, Accept="text/event-stream", Connection="close")
    return summary([_once(address, asked) for _ in range(WARM + times)][WARM:])


def _once(address: tuple[str, int], asked: bytes) -> float:
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        connection.sendall(asked)
        told = b""
        while b"data: " not in told:
            chunk = connection.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError(f"no event came: {told[:300]!r}")
            told += chunk
        took = time.perf_counter() - began
        while connection.recv(1 << 16):
            pass
    return took
