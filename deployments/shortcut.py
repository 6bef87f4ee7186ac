"""The short way to an application: past what Serve itself does with each request, which costs several times as much as
an agent that answers at once.

Serve takes its own routes, and everything where it cannot be told how many requests there are.
"""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .servestate import Counting

SERVES_OWN = "/-/"
REQUEST_ID = b"x-request-id"

log = logging.getLogger(__name__)


class Shortcut:
    """Is closed until the application is there."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._count: Counting

    def open(self, app: ASGIApp, count: Counting | None) -> None:
        """Lead to this application from now on, where requests can be counted."""
        if count is None:
            log.warning("requests take the long way, through Serve: it cannot be told how many there are")
            return
        self._count = count
        self._app = app

    def leads(self, scope: Scope) -> bool:
        """Whether this request may take it."""
        if self._app is None or scope["root_path"]:
            return False
        path, prefix = scope["path"], self._count.prefix
        return not path.startswith(SERVES_OWN) and (path == prefix or path.startswith(f"{prefix}/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may take it. What has an id keeps it, as with Serve."""
        assert self._app is not None, "it leads somewhere"
        scope["root_path"] = self._count.prefix
        for name, value in scope["headers"]:
            if name == REQUEST_ID:
                send = _known_as(value, send)
        self._count.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            self._count.end()


def _known_as(id: bytes, send: Send) -> Send:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID, id)]
        await send(message)

    return named
