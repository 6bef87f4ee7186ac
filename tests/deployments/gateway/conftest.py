"""A gateway over a running ledger, and a client whose every answer is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from agents.artifacts import FolderArtifacts
from cluster.client import LedgerClient
from cluster.ledger import Ledger
from cluster.tasklog import LogLine
from deployments.bodies import Limits
from deployments.gateway import gateway_app
from deployments.gateway.routing import PlainApp
from deployments.guard import Guard, gateway_needs
from deployments.verifier import Verifier
from tests.deployments.callers import called_by
from tests.deployments.ledgers import Hand, running_ledger

from .catalogs import catalog
from .conformance import checking

ERROR = '{"type":"permanent","title":"Permanent","detail":"no","step":null,"attempt":1}'
KEY = {"Idempotency-Key": "k"}
LIMITS = Limits(input=2000, batch=100_000, artifact=3_000_000)

_described: dict[str, Any] = {}  # what the first application said of itself; it takes longer than most tests

Build = Callable[..., PlainApp]
Reach = Callable[[FastAPI], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running_ledger() as ledger:
        yield ledger


@pytest.fixture
def said() -> dict[str, list[LogLine]]:
    """What the code of each task has logged."""
    return {}


@pytest.fixture
def build(tmp_path: Path, said: dict[str, list[LogLine]]) -> Build:
    """Makes the gateway over a ledger."""

    async def logs(tenant: str, task_id: str) -> list[LogLine]:
        return said.get(task_id, [])

    def make(ledger: LedgerClient, limits: Limits = LIMITS) -> PlainApp:
        app = gateway_app(
            catalog(),
            ledger,
            lambda tenant: FolderArtifacts(tmp_path / "artifacts", tenant),
            logs,
            limits=limits,
            heartbeat=0.05,
        )
        app.openapi_schema = _described or app.openapi()
        _described.update(app.openapi_schema)
        return app

    return make


@asynccontextmanager
async def reaching(app: FastAPI, guarded: ASGIApp | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of this application, let in as anybody or as `guarded` has it; whatever its handlers let through is
    raised."""
    transport = httpx.ASGITransport(guarded or called_by(app))
    hooks: dict[str, list[Any]] = {"response": [checking(app)]}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", event_hooks=hooks) as client:
        yield client


class Relay:
    """Stands before the ledger of whichever test runs."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.folder = Path()
        self.said: dict[str, list[LogLine]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


@cache
def _shared() -> tuple[FastAPI, Relay]:
    """One application for all tests that ask for nothing special: to build it takes longer than most of them."""
    relay = Relay()

    async def logs(tenant: str, task_id: str) -> list[LogLine]:
        return relay.said.get(task_id, [])

    app = gateway_app(
        catalog(),
        cast(LedgerClient, relay),
        lambda tenant: FolderArtifacts(relay.folder / "artifacts", tenant),
        logs,
        limits=LIMITS,
        heartbeat=0.05,
    )
    return app, relay


@pytest.fixture
async def client(tmp_path: Path, said: dict[str, list[LogLine]], ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    app, relay = _shared()
    relay.ledger, relay.folder, relay.said = ledger, tmp_path, said
    async with reaching(app) as client:
        yield client


class Keyed(NamedTuple):
    """A gateway that asks for keys: a client of it, which has none of its own, and the application within."""

    http: httpx.AsyncClient
    app: FastAPI
    verifier: Verifier


@pytest.fixture
async def keyed(tmp_path: Path, said: dict[str, list[LogLine]], ledger: Ledger) -> AsyncIterator[Keyed]:
    """Open to everybody as long as there are no keys."""
    app, relay = _shared()
    relay.ledger, relay.folder, relay.said = ledger, tmp_path, said
    verifier = Verifier(ledger.keys_since, opens=True)
    await verifier.look()
    async with reaching(app, Guard(app, verifier, gateway_needs)) as client:
        yield Keyed(client, app, verifier)


@pytest.fixture
def hand(ledger: Ledger) -> Hand:
    """A worker of the agent `both`."""
    return Hand(ledger, "both")


@pytest.fixture
async def submitted(client: httpx.AsyncClient) -> str:
    """The id of a queued task of the agent `both`."""
    answer = await client.post("/v1/tasks", json={"agent": "both", "input": {"text": "hello"}})
    assert answer.status_code == 202
    return str(answer.json()["id"])


@pytest.fixture
async def failed(hand: Hand, submitted: str) -> str:
    """The id of a task that failed after its steps `find` and `draft`."""
    claim = await hand.take()
    await hand.step(claim, "find", '"found"')
    await hand.step(claim, "draft", '"drafted"')
    await hand.fail(claim, ERROR)
    return submitted
