"""What stands before an application: it lets in whoever has a key, and says in the scope who that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from .access import CALLER, CHECKS, OPERATES, READS, RUNS, Need, demand
from .problems import Problem, Refused
from .verifier import Verifier

FIRST_KEYS = 5.0  # seconds in which a new process should know the keys before it takes requests
READY = "/readyz"
OPEN = frozenset(["/healthz", READY])

Needs = Callable[[Scope], Need | None]  # None: it is open to everybody


class Guard:
    """An application behind a check of keys, with the verifier at work for as long as the application lives."""

    def __init__(self, app: ASGIApp, verifier: Verifier, needs: Needs) -> None:
        self._app = app
        self._verifier = verifier
        self._needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        try:
            self._admit(scope)
        except Refused as refused:
            await _refuse(refused.problem, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Put into the scope who calls. Raises Refused."""
        need = self._needs(scope)
        if need is not None:
            scope[CALLER] = caller = self._verifier.check(scope["headers"])
            scope[CHECKS] = self._verifier
            demand(caller, need)
        elif scope["path"] == READY:
            self._verifier.demand_keys()  # who cannot tell good keys from bad lets nobody in

    def __getattr__(self, name: str) -> Any:
        """What else the application is asked by whoever hosts it."""
        return getattr(self._app, name)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = asyncio.create_task(self._verifier.run())
        try:
            await self._verifier.known(FIRST_KEYS)  # or not: then it answers 503 until it does
            await self._app(scope, receive, send)
        finally:
            reading.cancel()
            await asyncio.wait([reading])


def gateway_needs(scope: Scope) -> Need | None:
    """Any key: what else a route needs it looks at itself."""
    return None if scope["path"] in OPEN else READS


def replica_needs(scope: Scope) -> Need | None:
    """What the routes of an agent's own application need: its pause concerns all tenants."""
    route = scope["path"].removeprefix(scope.get("root_path", ""))
    if route in ("/pause", "/resume"):
        return OPERATES
    return READS if route in ("", "/") else RUNS


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Before a WebSocket is accepted the problem can be told where the server knows how; else it is closed."""
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": problem.title})
    else:
        await problem.response()(scope, receive, send)
