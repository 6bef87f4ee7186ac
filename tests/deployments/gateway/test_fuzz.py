"""That no bytes at all, on any route, break the gateway: every refusal is a problem document, and none is a 500."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.ledger import Ledger
from tests.deployments.keys import made

from .conftest import Keyed
from .test_openapi import ROUTES

pytestmark = pytest.mark.slow

# The client's hook holds every answer against /openapi.json, and every refusal against the shape of a problem.
SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

WORDS = [
    "agent",
    "input",
    "inputs",
    "options",
    "priority",
    "run_at",
    "timeout",
    "max_attempts",
    "deadline",
    "retry",
    "limit_key",
    "tags",
    "text",
    "amount",
    "cron",
    "zone",
    "overlap",
    "catch_up",
    "paused",
    "name",
    "scopes",
    "tenant",
    "expires_at",
    "rate",
]
TEXTS = st.text(max_size=20) | st.sampled_from(["both", "later", "now", "2030-01-01T00:00:00Z", "\0", "9" * 400])
NUMBERS = st.integers() | st.floats(allow_nan=True) | st.sampled_from([10**400, -(2**63), 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | TEXTS, below, max_size=4),
    max_leaves=12,
)
MOMENTS = st.datetimes().map(lambda at: at.isoformat() + "Z")
INPUTS = st.fixed_dictionaries({"text": TEXTS}) | JSON
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "priority": JSON | st.integers(-150, 150),
        "run_at": JSON | MOMENTS,
        "timeout": JSON | st.floats(),
        "max_attempts": JSON | st.integers(0, 110),
        "tags": JSON | st.lists(TEXTS, max_size=40),
        "deadline": JSON | MOMENTS,
        "limit_key": JSON | TEXTS | st.sampled_from(["agent:both", "acme"]),
        "retry": JSON | st.dictionaries(st.sampled_from(["base", "cap", "jitter"]), NUMBERS | st.floats(0, 1)),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"agent": st.sampled_from(["both", "later", "now", "reader"]) | JSON},
    optional={
        "input": INPUTS,
        "inputs": st.lists(INPUTS, max_size=5) | JSON,
        "options": OPTIONS | JSON,
        "tgas": JSON,
        "cron": st.text("0123456789*/,-#LW @", max_size=20) | st.just("*/5 * * * *") | JSON,
        "zone": st.sampled_from(["UTC", "Europe/Berlin", "Europe", "../UTC"]) | JSON,
        "overlap": st.sampled_from(["skip", "queue_one", "allow", "cancel"]) | JSON,
        "catch_up": st.sampled_from(["none", "one", "all"]) | JSON,
        "paused": st.booleans() | JSON,
    },
)
FILTERS = st.dictionaries(
    st.sampled_from(["agent", "state", "tag", "batch_id", "parent_id", "idempotency_key"]),
    st.sampled_from(["both", "queued", "failed", "red"]) | st.uuids().map(str) | JSON,
    max_size=3,
)
FORKS = st.fixed_dictionaries({"from_step": TEXTS | st.just("find#0")}, optional={"input": INPUTS})
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": st.integers(-1, 10) | JSON,
        "rate": st.fixed_dictionaries({"count": NUMBERS, "seconds": NUMBERS | st.floats(0, 10)}) | JSON,
        "weight": st.floats() | JSON,
        "paused_until": MOMENTS | JSON,
        "until": MOMENTS | JSON,
    },
)
KEYS = st.fixed_dictionaries(
    {"name": TEXTS, "scopes": st.lists(st.sampled_from(["run", "submit", "admin"]) | TEXTS, max_size=4) | JSON},
    optional={
        "tenant": st.sampled_from(["acme", ""]) | JSON,
        "expires_at": MOMENTS | JSON,
        "rate": st.fixed_dictionaries({"count": NUMBERS, "seconds": NUMBERS | st.floats(0, 10)}) | JSON,
    },
)
VALUES = REQUESTS | FILTERS | FORKS | LIMITS | KEYS | JSON
BODIES = (
    st.binary(max_size=200)
    | VALUES.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | REQUESTS.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")[:-1])
)
SEGMENTS = (
    st.text(max_size=40) | st.uuids().map(str) | st.sampled_from(["both", "0" * 64, "..", "batch", "a/b", "agent:both"])
).map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe=""))
QUERIES = st.sampled_from(
    ["agent", "state", "tag", "batch_id", "parent_id", "idempotency_key", "cursor", "limit", "name"]
) | st.text(max_size=8)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        b"Idempotency-Key": st.binary(max_size=300),
        b"Last-Event-ID": st.binary(max_size=30) | st.integers().map(lambda number: str(number).encode()),
        b"Prefer": st.sampled_from([b"respond-async", b"wait=0, respond-async", b'wait="x', b";;=,"]) | st.binary(),
        b"Content-Type": st.binary(max_size=40),
        b"Content-Disposition": st.binary(max_size=40).map(lambda raw: b"a; filename=" + raw) | st.binary(max_size=40),
        b"Accept": st.binary(max_size=20),
    },
)


@SETTINGS
@given(route=st.sampled_from(sorted(ROUTES)), data=st.data())
async def test_no_request_breaks_a_route(
    client: httpx.AsyncClient, submitted: str, route: tuple[str, str], data: Any
) -> None:
    method, path = route
    for name in re.findall(r"\{\w+\}", path):
        path = path.replace(name, data.draw(SEGMENTS | st.just(submitted)) or "x")
    if path.endswith("/events"):  # the events of a task that goes on have no end
        await client.post(f"/v1/tasks/{submitted}/cancel")
    queries = data.draw(st.dictionaries(QUERIES, TEXTS, max_size=3) | st.just({}))
    headers = {name: value.translate(None, b"\r\n\0") for name, value in data.draw(HEADERS).items()}

    answer = await client.request(
        method, httpx.URL("http://gateway" + path, params=queries), content=data.draw(BODIES), headers=headers
    )

    assert answer.status_code < 500 or answer.json()["type"] == "/problems/unavailable"


@SETTINGS
@given(route=st.sampled_from(sorted(ROUTES)), data=st.data())
async def test_no_request_breaks_a_route_that_asks_for_keys(
    keyed: Keyed, ledger: Ledger, route: tuple[str, str], data: Any
) -> None:
    """With keys of every kind, with none, and with what is none."""
    if not await ledger.keys(None, None, 1):
        await made(ledger)
        await keyed.verifier.look()
    method, path = route
    for name in re.findall(r"\{\w+\}", path):
        path = path.replace(name, data.draw(SEGMENTS) or "x")
    scopes = data.draw(st.sampled_from(["", "run", "submit", "admin", "run submit admin"]))
    key = await made(ledger, data.draw(st.sampled_from(["", "acme"])), scopes) if scopes else ""
    await keyed.verifier.look()
    value = data.draw(st.binary(max_size=300).map(lambda raw: raw.translate(None, b"\r\n\0")) | st.just(b""))
    headers = {b"Authorization": f"Bearer {key}".encode() if key else value}

    answer = await keyed.http.request(method, "http://gateway" + path, content=data.draw(BODIES), headers=headers)

    assert answer.status_code < 500
    if not key and not path.endswith(("/healthz", "/readyz")):
        assert answer.status_code == 401


@SETTINGS
@given(request=REQUESTS)
async def test_whatever_is_accepted_can_be_read_back(client: httpx.AsyncClient, request: Any) -> None:
    answer = await client.post("/v1/tasks", content=json.dumps(request).encode())

    if answer.status_code == 202:
        task = answer.json()
        read = (await client.get(f"/v1/tasks/{task['id']}")).json()
        assert read | {"waiting_on": None} == task
        assert read["waiting_on"]["reason"] in ("no_worker", "run_at")
        assert task["input"] == request["input"]
    else:
        assert answer.status_code in (400, 404, 409, 413, 422)


@SETTINGS
@given(method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]), path=st.lists(SEGMENTS))
async def test_no_path_breaks_the_gateway(client: httpx.AsyncClient, method: str, path: list[str]) -> None:
    answer = await client.request(method, "http://gateway/" + "/".join(path), content=b"{}")

    assert answer.status_code < 500
