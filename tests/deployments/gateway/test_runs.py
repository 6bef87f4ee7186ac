"""What a caller may rely on who asks the gateway for an agent."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from agents.ids import derived_id
from cluster.ledger import Ledger
from cluster.task import Filter
from tests.deployments.ledgers import Hand

ASYNC = {"Prefer": "respond-async"}
INPUT = {"text": "hello"}
RUN = "/v1/agents/later/run"


@pytest.fixture
def later(ledger: Ledger) -> Hand:
    """A worker of the agent `later`."""
    return Hand(ledger, "later")


async def test_all_agents_are_listed_with_their_modes_and_schemas(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/agents")).json()["items"]

    assert {agent["name"]: agent["modes"] for agent in listed} == {
        "both": ["realtime", "background"],
        "later": ["background"],
        "now": ["realtime"],
        "reader": ["realtime", "background"],
    }
    assert listed[0]["input"]["required"] == ["text"]
    assert (await client.get("/v1/agents/both")).json() == listed[0]


async def test_an_unknown_agent_is_answered_with_those_there_are_nearest_first(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/v1/agents/latr"),
        await client.post("/v1/agents/latr/run", json=INPUT),
        await client.post("/v1/tasks", json={"agent": "latr", "input": INPUT}),
        await client.post("/v1/tasks/batch", json={"agent": "latr", "inputs": [INPUT]}),
    ]

    for answer in answers:
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (404, "/problems/unknown-agent")
        assert problem["detail"] == "There is no agent 'latr'. There are: later, reader, both, now."


@pytest.mark.parametrize("headers", [{}, {"Prefer": "wait=5"}])
async def test_a_background_only_agent_is_not_run_for_who_wants_an_answer_now(
    client: httpx.AsyncClient, ledger: Ledger, headers: dict[str, str]
) -> None:
    answer = await client.post(RUN, json=INPUT, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/background-only")
    assert "Prefer: respond-async" in answer.json()["detail"]
    assert not await ledger.tasks("", Filter(), None, 10)


async def test_a_background_only_agent_is_submitted_for_who_takes_a_task(client: httpx.AsyncClient) -> None:
    answer = await client.post(RUN, json=INPUT, headers=ASYNC)

    task = answer.json()
    assert answer.status_code == 202
    assert (task["agent"], task["input"]) == ("later", INPUT)
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
    assert answer.headers["task-id"] == task["id"]
    assert answer.headers["preference-applied"] == "respond-async"


async def test_who_waits_long_enough_gets_the_output_itself(client: httpx.AsyncClient, later: Hand) -> None:
    waiting = asyncio.create_task(client.post(RUN, json=INPUT, headers={"Prefer": "respond-async, wait=30"}))
    claim = await later.take()

    await later.complete(claim, '{"text":"done"}')

    answer = await waiting
    assert (answer.status_code, answer.json()) == (200, {"text": "done"})
    assert (answer.headers["answer"], answer.headers["task-id"]) == ("full", claim.task.id)


async def test_who_waits_for_a_run_that_fails_is_told_why(client: httpx.AsyncClient, later: Hand) -> None:
    waiting = asyncio.create_task(client.post(RUN, json=INPUT, headers={"Prefer": "respond-async, wait=30"}))
    claim = await later.take()

    await later.fail(claim, '{"type":"E","title":"ValueError","detail":"not today","step":null,"attempt":1}')

    answer = await waiting
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/agent-failed")
    assert answer.json()["detail"] == "ValueError: not today"
    assert answer.headers["task-id"] == claim.task.id


async def test_who_waits_for_a_run_that_is_canceled_is_told_so(client: httpx.AsyncClient, later: Hand) -> None:
    waiting = asyncio.create_task(client.post(RUN, json=INPUT, headers={"Prefer": "respond-async, wait=30"}))
    claim = await later.take()
    await client.post(f"/v1/tasks/{claim.task.id}/cancel")

    await later.cancel(claim)

    answer = await waiting
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/canceled")


async def test_a_key_fixes_the_id_of_the_task(client: httpx.AsyncClient) -> None:
    headers = {**ASYNC, "Idempotency-Key": "k"}

    first = await client.post(RUN, json=INPUT, headers=headers)
    again = await client.post(RUN, json=INPUT, headers=headers)
    other = await client.post(RUN, json={"text": "bye"}, headers=headers)

    assert first.json()["id"] == again.json()["id"] == derived_id("", RUN, "k")
    assert other.status_code == 409


async def test_an_agent_whose_application_is_not_up_is_a_503_unless_a_task_will_do(client: httpx.AsyncClient) -> None:
    plain = await client.post("/v1/agents/both/run", json=INPUT)
    task = await client.post("/v1/agents/both/run", json=INPUT, headers=ASYNC)
    realtime = await client.post("/v1/agents/now/run", json=[1, 2], headers=ASYNC)

    assert (plain.status_code, plain.headers["retry-after"]) == (503, "2")
    assert (task.status_code, realtime.status_code) == (202, 503)


async def test_a_real_time_only_agent_takes_no_tasks(client: httpx.AsyncClient, ledger: Ledger) -> None:
    one = await client.post("/v1/tasks", json={"agent": "now", "input": [1]})
    many = await client.post("/v1/tasks/batch", json={"agent": "now", "inputs": [[1]]})

    for answer in (one, many):
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/realtime-only")
        assert "/v1/agents/now/run" in answer.json()["detail"]
    assert not await ledger.tasks("", Filter(), None, 10)
