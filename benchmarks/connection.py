"""One caller's keep-alive connection, at the lowest price: what it takes is hardly in the figures."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

CHUNK = 1 << 18
PATIENCE = 310.0  # seconds for an answer; a wait that is asked for may take 300


def request(method: str, url: str, body: str = "", **headers: str) -> bytes:
    """The bytes of one HTTP/1.1 request."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    data = body.encode()
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


def body_of(answer: bytes | bytearray) -> bytes | bytearray | None:
    """The body of an answer, None while it has not come whole."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return None
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return body if len(body) >= int(head[at : at + 12].split(b"\r\n")[0]) else None


class Connection:
    """Asks one thing after the other, and waits for each answer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def send(self, asked: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError where there is none."""
        self._socket.sendall(asked)
        chunks = bytearray()
        while (body := body_of(chunks)) is None:
            chunk = self._socket.recv(CHUNK)
            if not chunk:
                raise ConnectionResetError(f"{self._url} closed the connection")
            chunks += chunk
        return int(chunks[9:12]), bytes(body)

    def get(self, path: str, wait: int = 0) -> Any:
        """The JSON of a 200; with `wait`, once the task has ended or so many seconds are over."""
        status, body = self.send(request("GET", f"{self._url}{path}", **({"Prefer": f"wait={wait}"} if wait else {})))
        if status != 200:
            raise RuntimeError(f"{path}: {status} {body[:300]!r}")
        return json.loads(body)

    def none(self, **filters: str) -> bool:
        """Whether these filters of the list let no task pass."""
        return not self.get(f"/v1/tasks?{urlencode({**filters, 'limit': '1'})}")["items"]
