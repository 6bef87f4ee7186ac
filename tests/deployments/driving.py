"""An ASGI server in the test's own hand: it sees each message when it is sent, and can leave at any moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message

from deployments.access import ANYBODY, CALLER, CHECKS
from deployments.wire import LISTEN, Hear, Say

from .callers import Always

Headers = dict[str, str] | list[tuple[str, str]]


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncIterator[None]:
    """Between the application's startup and its shutdown."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.ensure_future(app({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    yield
    await inbox.put({"type": "lifespan.shutdown"})
    assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
    await life


@asynccontextmanager
async def hosting() -> AsyncIterator[Callable[[ASGIApp], None]]:
    """Brings applications up, one by one, and all down together."""
    down, lives = asyncio.Event(), []

    async def live(app: ASGIApp) -> None:
        async with living(app):
            await down.wait()

    yield lambda app: lives.append(asyncio.ensure_future(live(app)))
    down.set()
    await asyncio.gather(*lives)


class Call:
    """One request, running."""

    def __init__(
        self, app: ASGIApp, method: str, path: str, *chunks: bytes, headers: Headers | None = None, root_path: str = ""
    ) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()  # while it is clear, the client reads nothing
        self.reading.set()
        self._chunks = list(chunks or (b"",))
        pairs = headers.items() if isinstance(headers, dict) else headers or []
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": root_path + path,
            "root_path": root_path,
            "query_string": query.encode(),
            CALLER: ANYBODY,
            CHECKS: Always(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    def leave(self) -> None:
        """As Serve does it when the client is gone."""
        self.task.cancel()

    async def start(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 10)

    async def chunk(self) -> bytes:
        body: bytes = (await asyncio.wait_for(self.sent.get(), 10)).get("body", b"")
        return body

    async def _receive(self) -> dict[str, Any]:
        if not self._chunks:
            await asyncio.Event().wait()
        body = self._chunks.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self._chunks)}

    async def _send(self, message: Message) -> None:
        await self.reading.wait()
        await self.sent.put(dict(message))


class Socket:
    """One WebSocket, open until the client leaves or the application closes it."""

    hands_over = False  # texts to who listens, and takes theirs at once

    def __init__(self, app: ASGIApp, path: str = "/session?session=s1", checks: Any = None) -> None:
        self.reading = asyncio.Event()  # while it is clear, the client reads nothing
        self.reading.set()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "headers": [],
            CALLER: ANYBODY,
            CHECKS: checks or Always(),
        }
        self._hear: Hear = lambda text: False
        if self.hands_over:
            scope[LISTEN] = self._listen
        self.task = asyncio.ensure_future(app(scope, self._inbox.get, self._send))

    async def opened(self) -> str:
        """Returns with the session, once it is open."""
        assert await self._next() == {"type": "websocket.accept"}
        first = await self.frame()
        assert first.keys() == {"type", "session"}
        return str(first["session"])

    def say(self, frame: Any) -> None:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        if not self._inbox.empty() or not self._hear(text):
            self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def say_bytes(self, data: bytes) -> None:
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        """The client closes it."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def frame(self) -> Any:
        message = await self._next()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def closed(self) -> int:
        """Returns with the code, once it is closed; no frame comes before."""
        message = await self._next()
        assert message["type"] == "websocket.close", message
        await asyncio.wait_for(self.task, 5)
        return int(message["code"])

    def _listen(self, hear: Hear) -> Say:
        self._hear = hear
        return self._take

    def _take(self, text: str) -> bool:
        if self.reading.is_set():
            self._sent.put_nowait({"type": "websocket.send", "text": text})
        return self.reading.is_set()

    async def _next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._sent.get(), 5)

    async def _send(self, message: Message) -> None:
        await self.reading.wait()
        await self._sent.put(dict(message))


class Answer:
    """What the client of an ended call has in hand."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start, *bodies = messages
        self.status: int = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(message.get("body", b"") for message in bodies)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> Any:
        """The body, which must be a problem document that agrees with the status."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        assert self.json["title"]
        assert self.json["detail"]
        return self.json

    @property
    def events(self) -> list[Any]:
        assert self.headers["content-type"] == "text/event-stream"
        return events_in(self.body)


def events_in(stream: bytes) -> list[Any]:
    """The events, each checked against its own frame; comments are passed over."""
    found = []
    for frame in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.splitlines() if not line.startswith(":"))
        if fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["seq"]), event["type"])
            found.append(event)
    return found


async def ask(app: ASGIApp, method: str, path: str, *chunks: bytes, **how: Any) -> Answer:
    """The whole answer to one request."""
    call = Call(app, method, path, *chunks, **how)
    await asyncio.wait_for(call.task, 15)
    return Answer([call.sent.get_nowait() for _ in range(call.sent.qsize())])
