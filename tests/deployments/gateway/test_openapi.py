"""That /openapi.json is the truth: the other tests hold each answer against it, these its requests and routes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from jsonschema import ValidationError  # type: ignore[import-untyped]

from cluster.ledger import Ledger

from .catalogs import catalog
from .conformance import validate
from .conftest import Build

ROUTES = {
    ("get", "/"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("head", "/healthz"),
    ("head", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/agents"),
    ("get", "/v1/agents/{name}"),
    ("post", "/v1/agents/{name}/run"),
    ("post", "/v1/agents/{name}/pause"),
    ("post", "/v1/agents/{name}/resume"),
    ("get", "/v1/tasks"),
    ("post", "/v1/tasks"),
    ("post", "/v1/tasks/batch"),
    ("get", "/v1/tasks/{id}"),
    ("post", "/v1/tasks/cancel"),
    ("post", "/v1/tasks/retry"),
    ("post", "/v1/tasks/{id}/cancel"),
    ("post", "/v1/tasks/{id}/retry"),
    ("post", "/v1/tasks/{id}/fork"),
    ("post", "/v1/tasks/{id}/signals/{name}"),
    ("get", "/v1/tasks/{id}/events"),
    ("get", "/v1/tasks/{id}/steps"),
    ("get", "/v1/tasks/{id}/logs"),
    ("get", "/v1/batches/{id}"),
    ("post", "/v1/batches/{id}/cancel"),
    ("get", "/v1/batches/{id}/results"),
    ("get", "/v1/limits"),
    ("get", "/v1/limits/{limit_key}"),
    ("put", "/v1/limits/{limit_key}"),
    ("get", "/v1/schedules"),
    ("get", "/v1/schedules/{name}"),
    ("put", "/v1/schedules/{name}"),
    ("delete", "/v1/schedules/{name}"),
    ("post", "/v1/schedules/{name}/pause"),
    ("post", "/v1/schedules/{name}/resume"),
    ("post", "/v1/schedules/{name}/run"),
    ("get", "/v1/keys"),
    ("post", "/v1/keys"),
    ("get", "/v1/keys/{id}"),
    ("delete", "/v1/keys/{id}"),
    ("put", "/v1/artifacts"),
    ("get", "/v1/artifacts/{sha256}"),
}
RUNS = {("post", f"/v1/agents/{name}/run") for name in catalog()}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method, path): about for path, methods in document["paths"].items() for method, about in methods.items()}


async def test_it_names_every_route_and_each_agents_run(document: dict[str, Any], build: Build, ledger: Ledger) -> None:
    routes = [route for route in build(ledger).routes if isinstance(route, APIRoute)]
    served = {(method.lower(), route.path_format) for route in routes for method in route.methods or ()}

    assert served == ROUTES
    assert operations(document).keys() == ROUTES | RUNS


async def test_the_index_lists_the_same(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/")).json()["routes"]

    assert set(listed) == {f"{method.upper()} {path}" for method, path in ROUTES | RUNS}


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert named == document["components"]["schemas"].keys() - {"Event", "LogLine", "Result"}


async def test_every_operation_has_a_name_of_its_own_and_its_path_parameters(document: dict[str, Any]) -> None:
    found = operations(document)

    assert len({about["operationId"] for about in found.values()}) == len(found)
    for (_, path), about in found.items():
        named = {parameter["name"] for parameter in about["parameters"] if parameter["in"] == "path"}
        assert named == {part.strip("{}") for part in path.split("/") if part.startswith("{")}


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"agent": "both", "input": {"text": "a"}}, True),
        ({"agent": "both", "input": {"text": "a"}, "options": {"priority": 100, "tags": ["a"]}}, True),
        ({"agent": "both", "input": {"text": "a"}, "options": {"run_at": "2030-01-01T00:00:00Z"}}, True),
        ({"agent": "both", "input": {"text": "a"}, "options": {"priority": 101}}, False),
        ({"agent": "both", "input": {"text": "a"}, "options": {"retry": {"base": 1}, "limit_key": "a:b"}}, True),
        ({"agent": "both", "input": {"text": "a"}, "options": {"colour": "red"}}, False),
        ({"agent": "both", "input": {"text": "a"}, "options": {"retry": {"jitter": 2}}}, False),
        ({"agent": "both", "input": {"text": "a"}, "options": {"limit_key": "agent:both"}}, False),
        ({"agent": "both"}, False),
    ],
)
async def test_the_schema_of_a_new_task_takes_what_the_route_takes(
    client: httpx.AsyncClient, document: dict[str, Any], body: Any, fits: bool
) -> None:
    content = operations(document)["post", "/v1/tasks"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]

    answer = await client.post("/v1/tasks", json=body)

    assert answer.status_code == (202 if fits else 422)
    try:
        validate(document, schema, json.dumps(body))
    except ValidationError:
        assert not fits
    else:
        assert fits


async def test_an_agents_run_carries_the_agents_own_types(document: dict[str, Any]) -> None:
    run = operations(document)["post", "/v1/agents/both/run"]
    schema = run["requestBody"]["content"]["application/json"]["schema"]

    validate(document, schema, '{"text": "a", "amount": 1.5}')
    with pytest.raises(ValidationError):
        validate(document, schema, '{"text": 1}')
    output = run["responses"]["200"]["content"]["application/json"]["schema"]
    with pytest.raises(ValidationError):
        validate(document, output, '{"text": 1}')


async def test_what_is_not_built_yet_is_not_there(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/redoc", "/v1/webhooks"):
        answer = await client.get(path)

        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-route")
