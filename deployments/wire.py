"""How answers leave a replica: what is written in one turn of the loop leaves in one piece.

uvicorn writes an answer's head and its body apart. Behind a proxy each piece wakes the proxy, and then the caller:
that is a third of what a small answer costs.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.auto import AutoHTTPProtocol

HELD = 64 * 1024  # bytes that are held at most; more goes to the transport, which pauses whom it cannot follow


class Joining:
    """A transport whose writes wait for the end of the loop's turn. All else goes straight to the one it is for."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._soon = asyncio.get_running_loop().call_soon
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._soon(self._flush)
        self._held.append(bytes(data))
        self._size += len(data)
        if self._size >= HELD:
            self._flush()

    def writelines(self, lines: list[bytes]) -> None:
        for line in lines:
            self.write(line)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held = []
            self._size = 0
            self._transport.write(data)


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's own, over such a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Joining(transport))  # type: ignore[arg-type]


def join_writes() -> None:
    """Have every uvicorn server that starts in this process from now on join its writes."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Protocol.__name__}"
