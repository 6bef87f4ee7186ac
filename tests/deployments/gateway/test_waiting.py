"""That a task which does not run says why."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from agents.ids import new_id
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.waits import Waits
from deployments.documents import moment
from tests.cluster.making import submission, task
from tests.deployments.ledgers import Hand

from .conftest import Build, reaching

TASK = {"agent": "both", "input": {"text": "hello"}}


async def held(client: httpx.AsyncClient, **options: Any) -> dict[str, Any]:
    """Why a new task with these options does not run."""
    accepted = await client.post("/v1/tasks", json={**TASK, "options": options})
    assert accepted.json()["waiting_on"] is None
    task = (await client.get(accepted.headers["location"])).json()
    assert task["state"] == "queued"
    found: dict[str, Any] = task["waiting_on"]
    return found


async def test_before_its_time_it_waits_for_that(client: httpx.AsyncClient) -> None:
    assert await held(client, run_at="2031-01-01T00:00:00Z") == {
        "reason": "run_at",
        "limit_key": None,
        "place": None,
        "until": "2031-01-01T00:00:00.000Z",
        "estimate": None,
        "worker": None,
    }


async def test_where_no_worker_asks_it_waits_for_one(client: httpx.AsyncClient) -> None:
    assert (await held(client))["reason"] == "no_worker"


async def test_one_that_may_go_to_some_nodes_only_says_which(client: httpx.AsyncClient, hand: Hand) -> None:
    await held(client)
    claim = await hand.take()

    waiting = await held(client, market="spot")

    assert claim.task.lane == ""
    assert (waiting["reason"], waiting["worker"]) == ("no_worker", "a spot node")


async def test_in_the_queue_it_has_a_place_and_an_estimate(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    await hand.take()

    first, second = await held(client), await held(client)
    urgent = await held(client, priority=5)

    assert (first["reason"], first["limit_key"], first["place"]) == ("queue", "default", 1)
    assert (second["place"], urgent["place"]) == (2, 1)
    assert second["estimate"] == pytest.approx(2 * first["estimate"], rel=0.1)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule("", "acme", concurrency=0), "concurrency"),
        (Rule("", "acme", rate_count=0, rate_seconds=1.0), "rate"),
        (Rule("", "acme", paused_until=math.inf), "paused"),
        (Rule("", "agent:both", concurrency=0), "concurrency"),
    ],
)
async def test_a_limit_that_holds_it_is_named(
    client: httpx.AsyncClient, ledger: Ledger, rule: Rule, reason: str
) -> None:
    await ledger.set_rule(rule)

    assert await held(client, limit_key="acme") == {
        "reason": reason,
        "limit_key": rule.key,
        "place": 1,
        "until": None,
        "estimate": None,
        "worker": None,
    }


async def test_a_pause_that_ends_says_when(client: httpx.AsyncClient, ledger: Ledger) -> None:
    until = float(round(time.time() + 60))
    await ledger.pause("both", until)

    assert (await held(client))["until"] == datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def test_a_waiting_task_says_what_for_wherever_it_is_shown(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    until = time.time() + 60
    await hand.wait(await hand.take(), Waits(until, ("approve", "reject"), (("search", 2), ("draft#0", 1))))

    task = (await client.get(f"/v1/tasks/{submitted}")).json()
    (listed,) = (await client.get("/v1/tasks", params={"state": "waiting"})).json()["items"]

    assert task == listed
    assert task["state"] == "waiting"
    assert task["waiting_on"] == {"until": moment(until), "signals": ["approve", "reject"], "children": 3}
    assert task["run_at"] is None


class Counted:
    """A ledger that notes what it is asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._ledger, name)


async def test_only_who_asks_for_a_queued_task_by_its_id_is_told_why(build: Build, ledger: Ledger, hand: Hand) -> None:
    """It takes a call of its own, which nothing else has to pay for."""
    counted = Counted(ledger)
    async with reaching(build(counted)) as client:
        path = (await client.post("/v1/tasks", json=TASK)).headers["location"]
        await client.post("/v1/tasks/batch", json={"agent": "both", "inputs": [TASK["input"]]})
        (listed, _) = (await client.get("/v1/tasks")).json()["items"]
        created, counted.asked = counted.asked, []
        await client.get(path)
        queued, counted.asked = counted.asked, []
        await hand.take_all()
        await client.get(path)

    assert listed["waiting_on"] is None
    assert (created, queued, counted.asked) == (["submit", "submit", "tasks"], ["task", "why"], ["task"])


async def test_a_list_may_hold_the_children_of_one_task(
    client: httpx.AsyncClient, ledger: Ledger, submitted: str
) -> None:
    child = task(parent_id=submitted)
    await ledger.submit(submission(child))

    async def children(id: str) -> list[tuple[str, str]]:
        page = (await client.get("/v1/tasks", params={"parent_id": id})).json()
        return [(shown["id"], shown["parent_id"]) for shown in page["items"]]

    assert await children(submitted) == [(child.id, submitted)]
    assert await children(new_id()) == []
