"""Whether the gateway works, whether tasks can be accepted, and which routes there are."""

from __future__ import annotations

import asyncio
import json

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from cluster.client import LedgerClient

from ..problems import Refused, unavailable
from .answers import json_answer

READY_WITHIN = 2.0  # seconds the ledger has to answer


class Health:
    """`GET /`, and `GET` and `HEAD` of `/healthz` and `/readyz`."""

    def __init__(self, app: FastAPI, ledger: LedgerClient) -> None:
        self._app = app
        self._ledger = ledger

    async def index(self, request: Request) -> Response:
        paths = self._app.openapi()["paths"]
        routes = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
        return json_answer(json.dumps({"name": "rubato", "routes": routes}))

    async def alive(self, request: Request) -> Response:
        return json_answer('{"status":"ok"}')

    async def ready(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._ledger.counts()
        except TimeoutError:
            raise Refused(unavailable("The ledger does not answer.", READY_WITHIN)) from None
        return json_answer('{"status":"ready"}')
