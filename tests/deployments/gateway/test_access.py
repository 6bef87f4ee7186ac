"""That no route answers who must not ask. All there are are walked, so that a new one cannot be forgotten."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import httpx
import pytest

from cluster.apikeys import SCOPES
from cluster.ledger import Ledger
from cluster.tasklog import LogLine
from deployments.access import Need
from deployments.gateway.routing import PlainRoute
from tests.deployments.keys import bearer, made
from tests.deployments.ledgers import Hand

from .conftest import Keyed

SECRET = "classified"
WHOSE = {  # bodies with which each route would do something, were it let; those that are not here have none
    "POST /v1/tasks": {"agent": "both", "input": {"text": "mine"}},
    "POST /v1/tasks/batch": {"agent": "both", "inputs": [{"text": "mine"}]},
    "POST /v1/tasks/cancel": {"agent": "both"},
    "POST /v1/tasks/retry": {"agent": "both"},
    "POST /v1/tasks/{id}/fork": {"from_step": "find#0"},
    "POST /v1/agents/{name}/run": {"text": "mine"},
    "PUT /v1/limits/{limit_key}": {"concurrency": 0},
    "PUT /v1/schedules/{name}": {"agent": "both", "input": {"text": "mine"}, "cron": "0 3 * * *"},
    "POST /v1/keys": {"name": "mine", "scopes": ["run"]},
}


class Theirs(NamedTuple):
    """What a tenant has, each with SECRET in it somewhere, and a key that may do everything with it."""

    key: str
    task: str
    batch: str
    sha256: str
    key_id: str


class Route(NamedTuple):
    line: str  # such as `GET /v1/tasks`
    need: Need | None

    @property
    def method(self) -> str:
        return self.line.split()[0]

    def path(self, theirs: Theirs) -> str:
        """Of what is theirs, where the path names something."""
        path = self.line.split()[1].replace("{name:path}", SECRET).replace("{limit_key:path}", SECRET)
        for prefix, name in (("/v1/batches", theirs.batch), ("/v1/keys", theirs.key_id), ("/v1/tasks", theirs.task)):
            if path.startswith(prefix):
                path = path.replace("{id}", name)
        agent = path.startswith("/v1/agents")
        return path.replace("{sha256}", theirs.sha256).replace("{name}", "both" if agent else SECRET)


def routes(keyed: Keyed) -> list[Route]:
    """All there are."""
    plain = (route for route in keyed.app.routes if isinstance(route, PlainRoute))
    found = [Route(f"{method} {route.path}", route.need) for route in plain for method in sorted(route.methods or ())]
    assert len(found) > 40
    return found


async def call(keyed: Keyed, route: Route, theirs: Theirs, key: str | None) -> httpx.Response:
    body: dict[str, Any] = {} if route.line not in WHOSE else {"json": WHOSE[route.line]}
    headers = {} if key is None else bearer(key)
    if route.line.startswith("POST /v1/agents"):
        headers["Prefer"] = "respond-async"
    return await keyed.http.request(route.method, route.path(theirs), headers=headers, **body)


@pytest.fixture
async def theirs(keyed: Keyed, ledger: Ledger, said: dict[str, list[LogLine]]) -> Theirs:
    await made(ledger)
    key = await made(ledger, "acme", name=SECRET)
    await keyed.verifier.look()
    http, headers = keyed.http, bearer(key)
    key_id = (await http.get("/v1/keys", headers=headers)).json()["items"][0]["id"]
    options = {"tags": [SECRET], "limit_key": SECRET}
    one = {"agent": "both", "input": {"text": SECRET}}
    task = (await http.post("/v1/tasks", json={**one, "options": options}, headers=headers)).json()["id"]
    many = {"agent": "both", "inputs": [{"text": SECRET}], "options": options}
    batch = (await http.post("/v1/tasks/batch", json=many, headers=headers)).json()["batch_id"]
    sha256 = (await http.put("/v1/artifacts", content=SECRET.encode(), headers=headers)).json()["sha256"]
    schedule = await http.put(f"/v1/schedules/{SECRET}", json={**one, "cron": "0 3 * * *"}, headers=headers)
    limit = await http.put(f"/v1/limits/{SECRET}", json={"concurrency": 7}, headers=headers)
    assert (schedule.status_code, limit.status_code) == (201, 200)
    said[task] = [LogLine(1.0, task, "acme", 1, "INFO", "their.code", SECRET)]
    return Theirs(key, task, batch, sha256, key_id)


async def everything(keyed: Keyed, theirs: Theirs) -> list[Any]:
    """All that is theirs, as they see it."""
    paths = [
        *("/v1/tasks", f"/v1/tasks/{theirs.task}", f"/v1/batches/{theirs.batch}", f"/v1/limits/{SECRET}"),
        *(f"/v1/schedules/{SECRET}", f"/v1/keys/{theirs.key_id}", f"/v1/tasks/{theirs.task}/steps"),
    ]
    return [(await keyed.http.get(path, headers=bearer(theirs.key))).json() for path in paths]


async def bad(ledger: Ledger, case: str) -> str | None:
    """A key that lets nobody in."""
    match case:
        case "missing":
            return None
        case "wrong":
            return (await made(ledger, "acme"))[:-1] + "~"
        case "expired":
            return await made(ledger, "acme", expires_at=time.time() - 1)
        case "revoked":
            key = await made(ledger, "acme", name="to be revoked")
            await ledger.revoke_key(None, (await ledger.keys("acme", None, 1))[0].id)
            return key
    raise ValueError(case)


@pytest.mark.parametrize("case", ["missing", "wrong", "expired", "revoked"])
async def test_no_route_answers_without_a_good_key(keyed: Keyed, ledger: Ledger, theirs: Theirs, case: str) -> None:
    before, key = await everything(keyed, theirs), await bad(ledger, case)
    await keyed.verifier.look()

    for route in routes(keyed):
        answer = await call(keyed, route, theirs, key)

        if route.need is None:
            assert route.line in {"GET /healthz", "HEAD /healthz", "GET /readyz", "HEAD /readyz"}
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, route.line
            assert answer.json()["type"] == "/problems/no-access"
            assert answer.headers["www-authenticate"].startswith('Bearer realm="rubato"')
        assert SECRET not in answer.text
    assert await everything(keyed, theirs) == before


@pytest.mark.parametrize("path", ["/openapi.json", "/nothing", "/v1/tasks/", "/docs", "/v1/nothing/at/all"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE"])
async def test_no_path_at_all_answers_without_a_key(keyed: Keyed, theirs: Theirs, method: str, path: str) -> None:
    answer = await keyed.http.request(method, path)

    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/no-access")


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_key_goes_as_far_as_its_scope_on_every_route(
    keyed: Keyed, ledger: Ledger, theirs: Theirs, scope: str
) -> None:
    key = await made(ledger, "acme", scope)
    before = await everything(keyed, theirs)
    await keyed.verifier.look()
    refused = [route for route in routes(keyed) if route.need is not None and _lacks(route.need, scope)]
    assert refused

    for route in refused:
        answer = await call(keyed, route, theirs, key)

        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden"), route.line
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert await everything(keyed, theirs) == before


def _lacks(need: Need, scope: str) -> bool:
    return need.operator or (bool(need.scopes) and scope not in need.scopes)


async def test_another_tenant_finds_nothing_on_any_route(keyed: Keyed, ledger: Ledger, theirs: Theirs) -> None:
    key, before = await made(ledger, "zeta"), await everything(keyed, theirs)
    await keyed.verifier.look()

    for route in routes(keyed):
        answer = await call(keyed, route, theirs, key)

        assert SECRET not in answer.text.replace(f'"limit_key":"{SECRET}"', "").replace(f"'{SECRET}'", "") or (
            route.line == "PUT /v1/schedules/{name}"  # one of its own, by the same name
        )
        named = ("{id}" in route.line or "{sha256}" in route.line or "/schedules/{name}" in route.line) and (
            route.line != "PUT /v1/schedules/{name}"
        )
        operates = route.need is not None and route.need.operator
        if operates or named:
            assert answer.status_code == (403 if operates else 404), route.line
        if route.line == "PUT /v1/schedules/{name}":
            assert answer.status_code == 201
            await ledger.delete_schedule("zeta", SECRET)
        if route.method == "GET" and answer.headers["content-type"] == "application/json":
            assert "acme" not in answer.text
    assert await everything(keyed, theirs) == before


async def test_what_another_tenant_has_is_in_none_of_ones_lists(keyed: Keyed, ledger: Ledger, theirs: Theirs) -> None:
    key = await made(ledger, "zeta")
    await keyed.verifier.look()

    for path in (
        *("/v1/tasks", "/v1/tasks?state=queued", "/v1/tasks?agent=both", f"/v1/tasks?tag={SECRET}"),
        *(f"/v1/tasks?batch_id={theirs.batch}", "/v1/schedules", "/v1/limits"),
    ):
        assert (await keyed.http.get(path, headers=bearer(key))).json()["items"] == [], path
    for verb in ("cancel", "retry"):
        answer = await keyed.http.post(f"/v1/tasks/{verb}", json={"tag": SECRET}, headers=bearer(key))
        assert answer.json() == {"matched": 0}
    assert (await keyed.http.get(f"/v1/limits/{SECRET}", headers=bearer(key))).json()["concurrency"] is None


async def test_an_idempotency_key_is_its_tenants(keyed: Keyed, ledger: Ledger) -> None:
    keys = [await made(ledger), await made(ledger, "acme"), await made(ledger, "zeta")]
    await keyed.verifier.look()

    ids = set()
    for key in keys:
        headers = bearer(key) | {"Idempotency-Key": "same", "Prefer": "respond-async"}
        for path, body in (
            ("/v1/tasks", {"agent": "both", "input": {"text": "a"}}),
            ("/v1/agents/later/run", {"text": "a"}),
        ):
            first, again = [await keyed.http.post(path, json=body, headers=headers) for _ in range(2)]
            assert (first.status_code, again.json()["id"]) == (202, first.json()["id"])
            ids.add(first.json()["id"])
        listed = await keyed.http.get("/v1/tasks?idempotency_key=same", headers=bearer(key))
        assert len(listed.json()["items"]) == 2

    assert len(ids) == 6


async def test_a_run_that_would_be_a_task_needs_the_scope_for_tasks(keyed: Keyed, ledger: Ledger) -> None:
    await made(ledger)
    keys = [await made(ledger, "acme", scopes) for scopes in ("run", "run submit")]
    await keyed.verifier.look()

    answers = [
        await keyed.http.post(
            "/v1/agents/later/run", json={"text": "a"}, headers=bearer(key) | {"Prefer": "respond-async"}
        )
        for key in keys
    ]

    assert [answer.status_code for answer in answers] == [403, 202]


async def test_the_limits_of_agents_are_the_operators(keyed: Keyed, ledger: Ledger, hand: Hand) -> None:
    operator, reader = await made(ledger), await made(ledger, "", "run")
    await keyed.verifier.look()
    put = await keyed.http.put("/v1/limits/agent:both", json={"concurrency": 2}, headers=bearer(operator))
    assert put.status_code == 200
    await keyed.http.put("/v1/limits/mine", json={"concurrency": 2}, headers=bearer(operator))

    lists = [(await keyed.http.get("/v1/limits", headers=bearer(key))).json()["items"] for key in (operator, reader)]
    one = await keyed.http.get("/v1/limits/agent:both", headers=bearer(reader))

    assert [[limit["limit_key"] for limit in found] for found in lists] == [["agent:both", "mine"], ["mine"]]
    assert one.status_code == 403


async def test_a_stream_ends_with_the_key_it_was_asked_with(keyed: Keyed, ledger: Ledger, theirs: Theirs) -> None:
    async def read() -> str:
        return (await keyed.http.get(f"/v1/tasks/{theirs.task}/events", headers=bearer(theirs.key))).text

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    assert not reading.done()

    await ledger.revoke_key(None, theirs.key_id)
    await keyed.verifier.look()

    assert ": " in await asyncio.wait_for(reading, 5)


async def test_a_key_that_is_used_too_often_is_a_429(keyed: Keyed, ledger: Ledger) -> None:
    await made(ledger)
    key = await made(ledger, "acme", "run", rate_count=1, rate_seconds=60.0)
    await keyed.verifier.look()

    first, second = [await keyed.http.get("/v1/tasks", headers=bearer(key)) for _ in range(2)]

    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["type"] == "/problems/rate-limited"
    assert 1 <= int(second.headers["retry-after"]) <= 60


async def test_routes_say_what_they_need(keyed: Keyed) -> None:
    document = keyed.app.openapi()

    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for route in routes(keyed):
        path = route.line.split()[1].replace(":path", "")
        said = document["paths"][path][route.method.lower()]["security"]
        roles = [role for each in said for role in each["key"]]
        assert said == [] if route.need is None else said
        assert set(roles) == (set() if route.need is None else set(route.need.scopes))
