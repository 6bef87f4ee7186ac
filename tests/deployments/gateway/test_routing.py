"""Plain routes: called straight away where that can be, and with the same answers as through all layers."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from cluster.ledger import Ledger
from tests.deployments.callers import called_by

from .conftest import Build

PATHS = ["/v1/tasks", "/v1/tasks?limit=x", "/v1/tasks?unknown=1", "/v1/agents", "/healthz", "/nothing", "/v1/tasks/x"]


@pytest.fixture
def app(build: Build, ledger: Ledger) -> FastAPI:
    return build(ledger)


def client(app: FastAPI, root_path: str = "") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(called_by(app), root_path=root_path), base_url="http://gateway"
    )


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_is_the_same_straight_away_and_through_all_layers(app: FastAPI, path: str) -> None:
    async with client(app) as straight, client(app, root_path="/under") as around:
        one, other = await straight.get(path), await around.get(path)

    assert (one.status_code, one.content) == (other.status_code, other.content)
    assert one.headers == other.headers


async def test_no_layer_is_gone_through_for_a_path_without_parameters(app: FastAPI) -> None:
    class Layered(Exception):
        pass

    async def layers(scope: object, receive: object, send: object) -> None:
        raise Layered

    app.middleware_stack = layers
    async with client(app) as found:
        assert (await found.get("/v1/tasks")).status_code == 200
        with pytest.raises(Layered):
            await found.get("/v1/tasks/x")
        with pytest.raises(Layered):
            await found.put("/v1/tasks")
