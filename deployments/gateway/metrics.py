"""The route that Prometheus scrapes; whichever gateway is asked, the ledger's numbers are the same."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from agents import RubatoError
from cluster.stats import Measures

from .collector import LedgerCollector
from .services import Services

PATIENCE = 5.0  # seconds the ledger has to answer: half of what Prometheus waits by default
KEPT_SECONDS = 1.0  # that an answer is good for, however many scrape
PLAIN, OPEN = "text/plain", "application/openmetrics-text"

log = logging.getLogger(__name__)


class Metrics:
    """`GET /metrics`: 200 even where the ledger is away, for that too is something to be measured."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._agents = [name for name, entry in services.catalog.items() if entry.agent.background is not None]
        self._looking = asyncio.Lock()
        self._kept_until = -math.inf
        self._measures: Measures | None = None

    async def scrape(self, request: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(LedgerCollector(await self._look(), self._agents))
        ProcessCollector(registry=registry)
        encode, media_type = choose_encoder(OPEN if OPEN in request.headers.get("accept", "").lower() else PLAIN)
        return Response(encode(registry), media_type=media_type)

    async def _look(self) -> Measures | None:
        async with self._looking:
            if time.monotonic() >= self._kept_until:
                self._measures = await self._ask()
                self._kept_until = time.monotonic() + KEPT_SECONDS
            return self._measures

    async def _ask(self) -> Measures | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ledger.measures()
        except (RubatoError, TimeoutError) as error:
            log.warning("the ledger does not say what it measures: %s", error or "no answer")
            return None
