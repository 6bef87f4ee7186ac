"""What an operator may rely on who asks how the gateway is."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from deployments.gateway import health
from tests.deployments.ledgers import Unreachable

from .conftest import Build, reaching


class Silent:
    """A ledger that never answers."""

    async def counts(self) -> Any:
        await asyncio.Event().wait()


async def test_a_gateway_with_its_ledger_is_well_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    for path in ("/healthz", "/readyz"):
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == (await client.get(path)).headers


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [Silent(), Unreachable()])
async def test_a_gateway_without_its_ledger_is_well_but_not_ready(
    build: Build, ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READY_WITHIN", 0.05)

    async with reaching(build(ledger)) as client:
        well, ready, head = await client.get("/healthz"), await client.get("/readyz"), await client.head("/readyz")

    assert well.status_code == 200
    assert (ready.status_code, ready.json()["type"]) == (503, "/problems/unavailable")
    assert ready.headers["retry-after"]
    assert (head.status_code, head.content) == (503, b"")
