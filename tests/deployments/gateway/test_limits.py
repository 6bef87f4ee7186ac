"""What whoever sets limits may rely on."""

from __future__ import annotations

import math
import time
from typing import Any

import httpx
import pytest

from cluster.ledger import Ledger
from cluster.limits import Rule, agent_key
from tests.deployments.ledgers import Hand, Unreachable

from .conftest import Build, reaching

NOTHING = {"concurrency": None, "rate": None, "weight": 1.0, "paused_until": None, "running": 0}
ALL = {
    "concurrency": 3,
    "rate": {"count": 10, "seconds": 0.5},
    "weight": 2.5,
    "paused_until": "2090-01-01T00:00:00.000Z",
}


async def test_a_key_that_has_no_limits_shows_none(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/limits/acme")

    assert (answer.status_code, answer.json()) == (200, {"limit_key": "acme", **NOTHING})
    assert (await client.get("/v1/limits")).json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("key", ["acme", "a/b/c", "ü?", "\N{REPLACEMENT CHARACTER}", "default", "k" * 255])
async def test_limits_are_shown_as_they_were_set(client: httpx.AsyncClient, key: str) -> None:
    path = f"/v1/limits/{key.replace('?', '%3F')}"

    put = await client.put(path, json=ALL)

    assert (put.status_code, put.json()) == (200, {"limit_key": key, **ALL, "running": 0})
    assert (await client.get(path)).json() == put.json()
    assert (await client.get("/v1/limits")).json()["items"] == [put.json()]


async def test_a_put_replaces_all_of_them(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await client.put("/v1/limits/acme", json=ALL)

    put = await client.put("/v1/limits/acme", json={"concurrency": 0})

    assert put.json() == {"limit_key": "acme", **NOTHING, "concurrency": 0}
    assert (await ledger.limit("", "acme")).rule.plain is False


async def test_what_runs_is_counted_and_no_more_starts_than_may(
    client: httpx.AsyncClient, ledger: Ledger, hand: Hand
) -> None:
    await client.put("/v1/limits/acme", json={"concurrency": 2})
    batch = {"agent": "both", "inputs": [{"text": "a"}] * 3, "options": {"limit_key": "acme"}}
    await client.post("/v1/tasks/batch", json=batch)

    claims = await hand.take_all()

    assert len(claims) == 2
    assert (await client.get("/v1/limits/acme")).json()["running"] == 2
    assert (await client.get("/v1/limits/agent:both")).json()["running"] == 2


async def test_a_pause_without_an_end_may_be_put_and_lifted(client: httpx.AsyncClient, ledger: Ledger) -> None:
    end = "9999-01-01T00:00:00Z"

    put = await client.put("/v1/limits/acme", json={"paused_until": end})
    kept = (await ledger.limit("", "acme")).rule.paused_until
    lifted = await client.put("/v1/limits/acme", json={"paused_until": None})

    assert put.json()["paused_until"] == "9999-01-01T00:00:00.000Z"
    assert kept == math.inf
    assert lifted.json()["paused_until"] is None


async def test_a_pause_that_is_over_is_not_shown(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await ledger.set_rule(Rule("", "acme", concurrency=2, paused_until=time.time() - 1))

    shown = (await client.get("/v1/limits/acme")).json()
    listed = (await client.get("/v1/limits")).json()["items"]
    del shown["limit_key"], shown["running"]
    again = await client.put("/v1/limits/acme", json=shown)

    assert shown["paused_until"] is listed[0]["paused_until"] is None
    assert again.status_code == 200


async def test_the_limits_of_an_agent_hold_for_all_its_tasks(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await client.put("/v1/limits/agent:both", json={"concurrency": 1})

    assert (await ledger.limit(*agent_key("both"))).rule.concurrency == 1
    unknown = await client.put("/v1/limits/agent:bith", json={"concurrency": 1})
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-agent")
    assert "There are: both" in unknown.json()["detail"]


async def test_a_list_of_limits_goes_page_by_page(client: httpx.AsyncClient, ledger: Ledger) -> None:
    keys = [f"k{number}" for number in range(5)]
    for key in reversed(keys):
        await client.put(f"/v1/limits/{key}", json={"concurrency": 1})
    await ledger.set_rule(Rule("theirs", "k9", concurrency=1))

    pages: list[list[str]] = []
    cursor = None
    while cursor or not pages:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/limits", params=params)).json()
        pages.append([limit["limit_key"] for limit in page["items"]])
        cursor = page["next_cursor"]

    assert pages == [keys[:2], keys[2:4], keys[4:]]


BODIES: dict[str, tuple[Any, str]] = {
    "less than nothing at once": ({"concurrency": -1}, "concurrency: "),
    "too many at once": ({"concurrency": 1_000_001}, "concurrency: "),
    "half a task at once": ({"concurrency": 1.5}, "concurrency: "),
    "a concurrency that is a truth": ({"concurrency": True}, "concurrency: "),
    "a rate that is a number": ({"rate": 5}, "rate: must be an object"),
    "a rate without its seconds": ({"rate": {"count": 1}}, "rate.seconds: Field required"),
    "a rate without its count": ({"rate": {"seconds": 1}}, "rate.count: Field required"),
    "a rate below nothing": ({"rate": {"count": -1, "seconds": 1}}, "rate.count: "),
    "a rate in no time": ({"rate": {"count": 1, "seconds": 0}}, "rate.seconds: "),
    "a rate in more than a year": ({"rate": {"count": 1, "seconds": 1e9}}, "rate.seconds: "),
    "a rate with a field too many": (
        {"rate": {"count": 1, "second": 1}},
        "rate.second: there is no such field; did you mean 'seconds'?",
    ),
    "no weight": ({"weight": 0}, "weight: "),
    "a weight below nothing": ({"weight": -1}, "weight: "),
    "too much weight": ({"weight": 1001}, "weight: "),
    "a weight of null": ({"weight": None}, "weight: "),
    "a pause that is a number": ({"paused_until": 5}, "paused_until: must be a moment"),
    "a pause that is over": ({"paused_until": "2000-01-01T00:00:00Z"}, "paused_until: has passed already"),
    "an unknown field": ({"concurency": 1}, "concurency: there is no such field; did you mean 'concurrency'?"),
    "not an object": ([], "body: must be an object"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_limits_that_do_not_fit_are_refused_by_name(client: httpx.AsyncClient, ledger: Ledger, name: str) -> None:
    body, says = BODIES[name]

    answer = await client.put("/v1/limits/acme", json=body)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert any(line.startswith(says) for line in answer.json()["errors"])
    assert await ledger.limits("", "", 10) == []


@pytest.mark.parametrize("key", ["", "k" * 256, "%C3%BC" * 128, "k" * 10_000, "a%00b", "a%ff", "%C3"])
async def test_a_key_that_cannot_be_kept_is_refused(client: httpx.AsyncClient, ledger: Ledger, key: str) -> None:
    for answer in (await client.put(f"/v1/limits/{key}", json={}), await client.get(f"/v1/limits/{key}")):
        assert (answer.status_code, answer.json()["errors"]) == (
            422,
            ["limit_key: must have 1 to 255 bytes of UTF-8, none of them NUL"],
        )
    assert await ledger.limits("", "", 10) == []


async def test_an_agent_is_paused_and_resumed(client: httpx.AsyncClient, ledger: Ledger, submitted: str) -> None:
    paused = await client.post("/v1/agents/both/pause", json={"until": "2090-01-01T00:00:00Z"})
    held = (await client.get(f"/v1/tasks/{submitted}")).json()["waiting_on"]
    resumed = await client.post("/v1/agents/both/resume")

    assert paused.json() == {"agent": "both", "paused_until": "2090-01-01T00:00:00.000Z"}
    assert (held["reason"], held["limit_key"], held["until"]) == ("paused", "agent:both", "2090-01-01T00:00:00.000Z")
    assert resumed.json() == {"agent": "both", "paused_until": None}
    assert (await client.get(f"/v1/tasks/{submitted}")).json()["waiting_on"]["reason"] == "no_worker"


async def test_what_limits_nothing_any_more_is_not_listed(client: httpx.AsyncClient) -> None:
    await client.post("/v1/agents/both/pause")
    await client.put("/v1/limits/acme", json=ALL)
    await client.put("/v1/limits/light", json={"weight": 0.5})

    await client.post("/v1/agents/both/resume")
    await client.put("/v1/limits/acme", json={})

    assert [limit["limit_key"] for limit in (await client.get("/v1/limits")).json()["items"]] == ["light"]


async def test_a_pause_keeps_the_other_limits_of_the_agent(client: httpx.AsyncClient) -> None:
    await client.put("/v1/limits/agent:both", json={"concurrency": 7})

    await client.post("/v1/agents/both/pause")

    limit = (await client.get("/v1/limits/agent:both")).json()
    assert (limit["concurrency"], limit["paused_until"]) == (7, "9999-01-01T00:00:00.000Z")


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_what_has_no_tasks_cannot_be_paused(client: httpx.AsyncClient, verb: str) -> None:
    live = await client.post(f"/v1/agents/now/{verb}")
    unknown = await client.post(f"/v1/agents/bith/{verb}")

    assert (live.status_code, live.json()["type"]) == (409, "/problems/realtime-only")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-agent")


async def test_an_unreachable_ledger_is_a_503_everywhere(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        answers = [
            await client.get("/v1/limits"),
            await client.get("/v1/limits/acme"),
            await client.put("/v1/limits/acme", json={}),
            await client.post("/v1/agents/both/pause"),
            await client.post("/v1/agents/both/resume"),
        ]

    assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "3")}
