"""How a replica speaks HTTP: what is written in one turn of the loop leaves in one piece.

uvicorn writes an answer's head and its body apart. Behind a proxy each piece wakes the proxy, and then the caller:
that is a third of what a small answer costs. And what a client no longer waits for ends, told by the connection itself:
Serve looks out for that with two tasks and a queue for each request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from . import textframes
from .shortcut import Shortcut

LISTEN = "rubato.listen"  # where the scope of a WebSocket has its Listen
OPEN = State.OPEN
HELD = 64 * 1024  # bytes that are held at most; more goes to the transport, which pauses whom it cannot follow

Hear = Callable[[str], bool]  # takes the text of a message; or says that it should come through `receive`
Say = Callable[[str], bool]  # sends a text at once; or says that it should go through `send`, which may wait
Listen = Callable[[Hear], Say]


class Joining:
    """A transport whose writes wait for the end of the loop's turn. All else goes straight to the one it is for."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._soon = asyncio.get_running_loop().call_soon
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def plain(self) -> asyncio.Transport:
        """The one it is for, with nothing held back."""
        self.flush()
        return self._transport

    def write(self, data: bytes) -> None:
        if not self._held:
            self._soon(self.flush)
        self._held.append(bytes(data))
        self._size += len(data)
        if self._size >= HELD:
            self.flush()

    def writelines(self, lines: list[bytes]) -> None:
        for line in lines:
            self.write(line)

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Have nothing wait any more."""
        if self._held:
            data = b"".join(self._held)
            self._held = []
            self._size = 0
            self._transport.write(data)


class _Forked:
    """One of uvicorn's protocols, which sends what may go there down a shortcut to the application."""

    app: Any

    def __init__(self, shortcut: Shortcut, **options: Any) -> None:
        super().__init__(**options)
        self._shortcut = shortcut
        self._long_way: ASGIApp = self.app
        self.app = self._way

    def _way(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        way = self._short_way if self._shortcut.leads(scope) else self._long_way
        return way(scope, receive, send)

    async def _short_way(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._shortcut(scope, receive, send)


# uvicorn finds this class when it is imported: to mypy it is a variable.
class Requests(_Forked, AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """HTTP, over a transport that joins writes. A request on the shortcut is cancelled with its connection."""

    def __init__(self, shortcut: Shortcut, **options: Any) -> None:
        super().__init__(shortcut, **options)
        self.ws_protocol_class = partial(Sockets, shortcut)
        self._request: asyncio.Task[Any] | None = None  # the latest on the shortcut
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Joining(transport))  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        self.transport.flush()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost = True
        if self._request is not None and not self.cycle.response_complete:
            self._request.cancel()

    async def _short_way(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._request = asyncio.current_task()
        try:
            await self._shortcut(scope, receive, send)
        except asyncio.CancelledError:
            if not self._lost:  # else nobody is there to be told
                raise


class Sockets(_Forked, WebSocketsSansIOProtocol):
    """WebSockets: a frame is one write, and leaves at once. Who is on the shortcut hears that the client has gone, may
    be handed a text when it comes, without a turn of the loop for who waits for it, and may answer it so."""

    def __init__(self, shortcut: Shortcut, **options: Any) -> None:
        super().__init__(shortcut, **options)
        self._hear: Hear | None = None
        self._at_edge = True  # of a frame: of the next nothing has come yet

    async def _short_way(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[LISTEN] = self._listen
        try:
            await self._shortcut(scope, receive, send)
        finally:
            self._hear = None  # it knows who knows this
            del scope[LISTEN]

    def _listen(self, hear: Hear) -> Say:
        self._hear = hear
        return self._say

    def _say(self, text: str) -> bool:
        if not (self._is_plain and self.writable.is_set()):
            return False
        self.transport.write(textframes.written(text.encode()))
        return True

    @property
    def _is_plain(self) -> bool:
        """Whether frames go both ways, and none is compressed."""
        conn = self.conn
        return conn.state is OPEN and not conn.extensions and not self.disconnected and not self.close_sent

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and self._at_edge:
            text = textframes.read(data) if self._is_plain and self.conn.current_size is None else None
            if text is not None:
                if not self._heard(text):
                    self.curr_msg_data_type = "text"
                    self.frames = [text]
                    super().send_receive_event_to_app()
                return
            self._at_edge = self.handshake_complete and textframes.are_whole(data)
        super().data_received(data)

    async def send(self, message: Any) -> None:
        text = message.get("text") if message["type"] == "websocket.send" else None
        if text is None or not self._say(text):
            await super().send(message)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and self._heard(b"".join(self.frames)):
            self.frames = []
        else:
            super().send_receive_event_to_app()

    def _heard(self, text: bytes) -> bool:
        """Hand a text over; False where it is to be received, as it is where another waits for that."""
        if self._hear is None or self.close_sent or not self.queue.empty():
            return False
        try:
            said = text.decode()
        except UnicodeDecodeError:  # what comes of that is not our concern
            return False
        return self._hear(said)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport.plain if isinstance(transport, Joining) else transport)


def speak(shortcut: Shortcut) -> None:
    """Have every uvicorn server that starts in this process from now on speak so."""
    # uvicorn's list is of texts that name classes; what is no text it takes as it is.
    HTTP_PROTOCOLS["auto"] = partial(Requests, shortcut)  # type: ignore[assignment]
