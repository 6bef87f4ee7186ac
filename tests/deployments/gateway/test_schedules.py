"""Schedules over HTTP: put, listed, paused, run by hand, deleted; and what is refused."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from cluster.ledger import Ledger
from tests.deployments.ledgers import Hand, Unreachable

from .conftest import Build, reaching

NIGHTLY = {"agent": "both", "input": {"text": "hello"}, "cron": "30 2 * * *", "zone": "Europe/Berlin"}


async def put(client: httpx.AsyncClient, name: str = "nightly", **changes: Any) -> dict[str, Any]:
    answer = await client.put(f"/v1/schedules/{name}", json={**NIGHTLY, **changes})
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_schedule_is_created_and_shows_its_next_times(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/schedules/nightly", json=NIGHTLY)

    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/schedules/nightly")
    found = answer.json()
    asked = {"name": "nightly", **NIGHTLY, "overlap": "skip", "catch_up": "one", "paused": False}
    options: dict[str, Any] = {
        "priority": 0,
        "timeout": None,
        "max_attempts": None,
        "retry": None,
        "limit_key": "default",
        "tags": [],
        "market": "any",
    }
    assert found == asked | {"options": options, "held_at": None, "last_at": None} | {
        name: found[name] for name in ("next_at", "next", "created_at")
    }
    moments = [datetime.fromisoformat(text) for text in found["next"]]
    assert found["next"][0] == found["next_at"]
    assert len(moments) == 5
    assert all(
        timedelta(hours=22) < later - sooner < timedelta(hours=26) for sooner, later in itertools.pairwise(moments)
    )
    assert (await client.get("/v1/schedules/nightly")).json() == found


async def test_a_put_replaces_the_schedule_of_that_name(client: httpx.AsyncClient) -> None:
    first = await put(client, options={"priority": 5})

    answer = await client.put("/v1/schedules/nightly", json={**NIGHTLY, "input": {"text": "other"}, "paused": True})

    assert answer.status_code == 200
    second = answer.json()
    assert (second["input"], second["paused"], second["options"]["priority"]) == ({"text": "other"}, True, 0)
    assert (second["next_at"], second["next"]) == (None, [])
    assert second["created_at"] == first["created_at"]
    assert (await put(client))["paused"]


async def test_what_is_asked_of_its_tasks_is_kept(client: httpx.AsyncClient, ledger: Ledger) -> None:
    options = {
        "priority": 3,
        "timeout": 7.5,
        "max_attempts": 2,
        "limit_key": "acme",
        "tags": ["a"],
        "market": "spot",
        "retry": {"cap": 9},
    }

    found = await put(client, options=options)

    assert found["options"] == options | {"retry": {"base": 2.0, "cap": 9.0, "jitter": 0.25}}
    task = (await client.post("/v1/schedules/nightly/run")).json()
    assert (task["priority"], task["limit_key"], task["tags"]) == (3, "acme", ["a"])
    stored = await ledger.task("", task["id"])
    assert stored is not None
    assert (stored.timeout, stored.max_attempts, stored.retry) == (7.5, 2, found["options"]["retry"])
    assert (stored.market, stored.lane) == ("spot", '{"market":"spot"}')


async def test_the_agents_policy_is_the_rest(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await put(client)

    task = (await client.post("/v1/schedules/nightly/run")).json()

    stored = await ledger.task("", task["id"])
    assert stored is not None
    assert (stored.version, stored.timeout, stored.max_attempts) == ("v7", 90, 5)


async def test_a_time_that_comes_makes_a_task(client: httpx.AsyncClient, ledger: Ledger, hand: Hand) -> None:
    found = await put(client)
    stored = await ledger.schedule("", "nightly")
    assert stored is not None
    past = stored._replace(next_at=(stored.next_at or 0) - 86400 * 7)
    await ledger._ticks.move(lambda book, _: book.writes.schedules.update({("", "nightly"): past}))

    claim = await asyncio.wait_for(hand.take(), 5)

    task = (await client.get(f"/v1/tasks/{claim.task.id}")).json()
    shown = (await client.get("/v1/schedules/nightly")).json()
    assert (task["schedule"], task["input"], task["version"]) == ("nightly", {"text": "hello"}, "v7")
    assert task["run_at"] == shown["last_at"]
    assert shown["next_at"] == found["next_at"]


async def test_schedules_are_listed_by_name_and_page(client: httpx.AsyncClient) -> None:
    for name in ("c", "a", "B.2_x-"):
        await put(client, name)

    first = (await client.get("/v1/schedules", params={"limit": 2})).json()
    second = (await client.get("/v1/schedules", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    assert [found["name"] for found in first["items"]] == ["B.2_x-", "a"]
    assert [found["name"] for found in second["items"]] == ["c"]
    assert second["next_cursor"] is None


async def test_a_pause_and_a_resume(client: httpx.AsyncClient) -> None:
    found = await put(client)

    paused = (await client.post("/v1/schedules/nightly/pause")).json()
    resumed = (await client.post("/v1/schedules/nightly/resume", json={})).json()

    assert paused == found | {"paused": True, "next_at": None, "next": []}
    assert resumed == found


async def test_a_deleted_schedule_is_gone_and_its_tasks_are_not(client: httpx.AsyncClient) -> None:
    await put(client)
    task = (await client.post("/v1/schedules/nightly/run")).json()

    answer = await client.delete("/v1/schedules/nightly")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get("/v1/schedules")).json()["items"] == []
    assert (await client.get(f"/v1/tasks/{task['id']}")).json()["schedule"] == "nightly"


async def test_a_run_by_hand_is_a_task_at_once(client: httpx.AsyncClient, hand: Hand) -> None:
    await put(client, paused=True)

    answer = await client.post("/v1/schedules/nightly/run")

    task = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/tasks/{task['id']}")
    assert (task["schedule"], task["run_at"], task["input"]) == ("nightly", None, {"text": "hello"})
    assert (await asyncio.wait_for(hand.take(), 5)).task.id == task["id"]
    assert (await client.get("/v1/schedules/nightly")).json()["last_at"] is None


async def test_a_run_by_hand_is_followed_and_sent_again_as_any_post(client: httpx.AsyncClient, hand: Hand) -> None:
    await put(client)
    headers = {"Idempotency-Key": "k", "Prefer": "wait=5"}
    running = asyncio.create_task(client.post("/v1/schedules/nightly/run", headers=headers))
    await hand.complete(await asyncio.wait_for(hand.take(), 5), '{"text":"done"}')

    first, again = await running, await client.post("/v1/schedules/nightly/run", headers=headers)

    assert (first.status_code, first.json()["state"]) == (200, "completed")
    assert again.json() == first.json()
    assert len((await client.get("/v1/tasks")).json()["items"]) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST pause", "POST resume", "POST run"])
@pytest.mark.parametrize("name", ["nothing", "-x", "a b", "ä", "x" * 256])
async def test_what_is_not_there_is_unknown(client: httpx.AsyncClient, method: str, name: str) -> None:
    verb, _, action = method.partition(" ")

    answer = await client.request(verb, f"/v1/schedules/{name}" + (f"/{action}" if action else ""))

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-schedule")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a line that cannot fire": ({"cron": "0 0 30 2 *"}, "cron: '0 0 30 2 *' is no cron line that can fire"),
    "a line with seconds": ({"cron": "0 0 0 * * *"}, "cron: '0 0 0 * * *' is no cron line: write minute"),
    "a line that is too long": ({"cron": "0" * 300}, "cron: String should have at most 255 characters"),
    "no line": ({"cron": None}, "cron: Input should be a valid string"),
    "a zone that is almost one": (
        {"zone": "Europe/Berln"},
        "zone: there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
    ),
    "a zone that is a path": ({"zone": "../../etc/passwd"}, "zone: there is no time zone '../../etc/passwd'"),
    "an overlap there is not": (
        {"overlap": "queue"},
        "overlap: Input should be 'skip', 'queue_one', 'allow' or 'cancel'",
    ),
    "another catch-up": ({"catch_up": True}, "catch_up: Input should be 'none', 'one' or 'all'"),
    "a pause of another kind": ({"paused": 1}, "paused: Input should be a valid boolean"),
    "a moment": ({"options": {"run_at": "2030-01-01T00:00:00Z"}}, "options.run_at: there is no such option"),
    "an option there is not": (
        {"options": {"tgas": []}},
        "options.tgas: there is no such option; did you mean 'tags'?",
    ),
    "a retry part there is not": (
        {"options": {"retry": {"cup": 1}}},
        "options.retry.cup: there is no such field; did you mean 'cap'?",
    ),
    "a retry that is none": ({"options": {"retry": {"base": 99}}}, "options.retry: base must be between 0 and cap"),
    "an agent's limit key": ({"options": {"limit_key": "agent:both"}}, "options.limit_key: must not begin with"),
    "a field there is not": ({"timezone": "UTC"}, "timezone: there is no such field; did you mean 'zone'?"),
    "an input of another kind": ({"input": {"text": 1}}, "text: Input should be a valid string"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_named_and_nothing_is_kept(client: httpx.AsyncClient, name: str) -> None:
    changes, says = WRONG[name]

    answer = await client.put("/v1/schedules/nightly", json={**NIGHTLY, **changes})

    assert answer.status_code == 422
    assert says in "\n".join(answer.json()["errors"])
    assert (await client.get("/v1/schedules")).json()["items"] == []


@pytest.mark.parametrize(
    ("agent", "status", "type"),
    [("nobody", 404, "/problems/unknown-agent"), ("now", 409, "/problems/realtime-only")],
)
async def test_only_an_agent_with_a_background_mode_has_schedules(
    client: httpx.AsyncClient, agent: str, status: int, type: str
) -> None:
    answer = await client.put("/v1/schedules/nightly", json={**NIGHTLY, "agent": agent, "input": [1]})

    assert (answer.status_code, answer.json()["type"]) == (status, type)


@pytest.mark.parametrize("name", ["-x", "a b", "ä", "x" * 256, ".."])
async def test_a_name_that_cannot_be_one_is_refused(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.put(httpx.URL("http://gateway/v1/schedules/" + name.replace(".", "%2E")), json=NIGHTLY)

    assert answer.status_code in (404, 422)
    assert (await client.get("/v1/schedules")).json()["items"] == []


async def test_bodies_are_read_as_everywhere(client: httpx.AsyncClient) -> None:
    too_large = await client.put("/v1/schedules/nightly", json={**NIGHTLY, "input": {"text": "x" * 3000}})
    malformed = await client.put("/v1/schedules/nightly", content=b"{")
    said = await client.post("/v1/schedules/nightly/pause", json={"until": 1})

    assert [answer.status_code for answer in (too_large, malformed, said)] == [413, 400, 422]


async def test_a_ledger_that_is_away_is_said_so(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        answers = [
            await client.get("/v1/schedules"),
            await client.get("/v1/schedules/nightly"),
            await client.put("/v1/schedules/nightly", json=NIGHTLY),
            await client.delete("/v1/schedules/nightly"),
            await client.post("/v1/schedules/nightly/pause"),
            await client.post("/v1/schedules/nightly/run"),
        ]

    assert {(answer.status_code, answer.json()["type"]) for answer in answers} == {(503, "/problems/unavailable")}
