"""What a caller may rely on who moves tasks that are there: cancel, retry, fork."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from agents.ids import derived_id, new_id
from cluster.ledger import Ledger
from cluster.task import Filter
from tests.cluster.callers import opened, running, settled
from tests.cluster.making import ManualClock
from tests.deployments.ledgers import Hand, Unreachable

from .conftest import ERROR, KEY, LIMITS, Build, reaching


async def state_of(client: httpx.AsyncClient, id: str) -> str:
    return str((await client.get(f"/v1/tasks/{id}")).json()["state"])


async def test_a_queued_task_is_canceled_at_once(client: httpx.AsyncClient, submitted: str) -> None:
    first = await client.post(f"/v1/tasks/{submitted}/cancel")
    again = await client.post(f"/v1/tasks/{submitted}/cancel", content=b" {} ")

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["state"] == again.json()["state"] == "canceled"
    assert first.json()["cancel_requested_at"]


async def test_a_running_task_is_canceled_when_its_worker_says_so(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    claim = await hand.take()

    asked = (await client.post(f"/v1/tasks/{submitted}/cancel")).json()
    await hand.cancel(claim)

    assert asked["state"] == "running"
    assert asked["cancel_requested_at"]
    assert (await client.get(f"/v1/tasks/{submitted}")).json()["state"] == "canceled"


async def test_a_task_that_ended_otherwise_cannot_be_canceled(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    await hand.complete(await hand.take(), '{"text":"done"}')

    answer = await client.post(f"/v1/tasks/{submitted}/cancel")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")


async def test_a_cancel_has_no_fields(client: httpx.AsyncClient, submitted: str) -> None:
    answer = await client.post(f"/v1/tasks/{submitted}/cancel", json={"force": True})

    assert answer.status_code == 422
    assert (await client.get(f"/v1/tasks/{submitted}")).json()["state"] == "queued"


async def test_a_failed_task_is_retried_with_what_it_had_recorded(
    client: httpx.AsyncClient, hand: Hand, failed: str
) -> None:
    answer = await client.post(f"/v1/tasks/{failed}/retry")

    claim = await hand.take()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/tasks/{failed}"
    assert (answer.json()["state"], answer.json()["ended_at"]) == ("queued", None)
    assert (claim.task.id, [record.id.name for record in claim.journal]) == (failed, ["find", "draft"])


async def test_a_retry_sent_again_with_its_key_is_made_once(client: httpx.AsyncClient, hand: Hand, failed: str) -> None:
    first = await client.post(f"/v1/tasks/{failed}/retry", headers=KEY)
    await hand.fail(await hand.take(), ERROR)

    again = await client.post(f"/v1/tasks/{failed}/retry", headers=KEY)

    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.json()["state"], again.json()["state"]) == ("queued", "failed")


async def test_only_what_failed_or_was_canceled_can_be_retried(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    queued = await client.post(f"/v1/tasks/{submitted}/retry")
    await hand.complete(await hand.take(), '{"text":"done"}')
    completed = await client.post(f"/v1/tasks/{submitted}/retry")

    for answer, state in ((queued, "queued"), (completed, "completed")):
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
        assert state in answer.json()["detail"]
    assert await state_of(client, submitted) == "completed"


async def test_a_fork_goes_on_from_a_step_with_the_code_of_today(
    client: httpx.AsyncClient, hand: Hand, failed: str
) -> None:
    answer = await client.post(f"/v1/tasks/{failed}/fork", json={"from_step": "draft#0"})

    forked = answer.json()
    claim = await hand.take()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/tasks/{forked['id']}"
    assert (forked["state"], forked["version"], forked["input"]) == ("queued", "v7", {"text": "hello"})
    assert (claim.task.id, [record.id.name for record in claim.journal]) == (forked["id"], ["find"])
    assert await state_of(client, failed) == "failed"


async def test_a_fork_may_have_another_input_kept_with_every_digit(
    client: httpx.AsyncClient, ledger: Ledger, failed: str
) -> None:
    body = '{"from_step": "find#0", "input": {"text":"bye", "amount": 0.10000000000000000001}}'

    answer = await client.post(f"/v1/tasks/{failed}/fork", content=body)

    forked = await ledger.task("", answer.json()["id"])
    assert forked is not None
    assert forked.input == '{"text":"bye", "amount": 0.10000000000000000001}'


async def test_a_fork_sent_again_with_its_key_is_made_once(
    client: httpx.AsyncClient, ledger: Ledger, failed: str
) -> None:
    path, body = f"/v1/tasks/{failed}/fork", {"from_step": "draft#0"}

    first = await client.post(path, json=body, headers=KEY)
    again = await client.post(path, json=body, headers=KEY)
    other = await client.post(path, json={"from_step": "find#0"}, headers=KEY)
    anew = await client.post(path, json=body)

    assert [answer.status_code for answer in (first, again, other, anew)] == [202, 202, 409, 202]
    assert first.json() == again.json()
    assert first.json()["id"] == derived_id("", path, "k")
    assert len(await ledger.tasks("", Filter(state="queued"), None, 10)) == 2


async def test_a_fork_from_a_step_that_there_is_none_of_names_those_there_are(
    client: httpx.AsyncClient, ledger: Ledger, failed: str
) -> None:
    answer = await client.post(f"/v1/tasks/{failed}/fork", json={"from_step": "search#0"})

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert "find#0, draft#0" in answer.json()["detail"]
    assert len(await ledger.tasks("", Filter(), None, 10)) == 1


FORKS: dict[str, tuple[Any, int, str]] = {
    "no step": ({}, 422, "from_step: Field required"),
    "an empty step": ({"from_step": ""}, 422, "from_step: "),
    "a step of 10 kB": ({"from_step": "s" * 10_000}, 422, "from_step: "),
    "a step that is a number": ({"from_step": 1}, 422, "from_step: "),
    "an unknown field": ({"from_stop": "find#0"}, 422, "from_stop: there is no such field; did you mean 'from_step'?"),
    "an input that does not fit": ({"from_step": "find#0", "input": {"txt": "a"}}, 422, "text: Field required"),
    "an input of null": ({"from_step": "find#0", "input": None}, 422, "body: Input should be"),
    "an input that is too large": ({"from_step": "find#0", "input": {"text": "x" * LIMITS.input}}, 413, "The input"),
    "not an object": (["find#0"], 422, "body: must be an object"),
}


@pytest.mark.parametrize("name", FORKS)
async def test_a_fork_that_does_not_fit_is_refused(
    client: httpx.AsyncClient, ledger: Ledger, failed: str, name: str
) -> None:
    body, status, says = FORKS[name]

    answer = await client.post(f"/v1/tasks/{failed}/fork", json=body)

    problem = answer.json()
    assert answer.status_code == status
    assert says in "\n".join([problem["detail"], *problem.get("errors", ())])
    assert len(await ledger.tasks("", Filter(), None, 10)) == 1


async def test_all_that_match_are_canceled(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    red = {"agent": "both", "inputs": [{"text": "a"}] * 3, "options": {"tags": ["red"]}}
    ids = (await client.post("/v1/tasks/batch", json=red)).json()["task_ids"]

    answer = await client.post("/v1/tasks/cancel", json={"tag": "red", "state": "queued"})

    assert (answer.status_code, answer.json()) == (200, {"matched": 3})
    assert {await state_of(client, id) for id in ids} == {"canceled"}
    assert await state_of(client, submitted) == "queued"


async def test_all_that_match_are_retried(client: httpx.AsyncClient, hand: Hand, failed: str) -> None:
    other = (await client.post("/v1/tasks", json={"agent": "both", "input": {"text": "a"}})).json()["id"]
    await client.post(f"/v1/tasks/{other}/cancel")

    first = await client.post("/v1/tasks/retry", json={"agent": "both"})
    second = await client.post("/v1/tasks/retry", json={"agent": "both", "state": "canceled"})

    assert (first.json(), second.json()) == ({"matched": 1}, {"matched": 1})
    assert {await state_of(client, id) for id in (failed, other)} == {"queued"}


@pytest.mark.parametrize(
    ("route", "body", "says"),
    [
        ("cancel", {}, "body: must say at least one of agent"),
        ("retry", {}, "body: must say at least one of agent"),
        ("cancel", {"agent": None}, "body: must say at least one of agent"),
        ("cancel", [], "body: must be an object"),
        ("cancel", {"agnet": "both"}, "agnet: there is no such field; did you mean 'agent'?"),
        ("cancel", {"limit": 5}, "limit: there is no such field"),
        ("cancel", {"state": "completed"}, "state: "),
        ("retry", {"state": "queued"}, "state: "),
        ("retry", {"state": "completed"}, "state: "),
        ("cancel", {"batch_id": "7"}, "batch_id: must be an id"),
        ("cancel", {"tag": "t" * 10_000}, "tag: "),
        ("cancel", {"agent": 7}, "agent: "),
    ],
)
async def test_a_filter_that_does_not_fit_moves_nothing(
    client: httpx.AsyncClient, submitted: str, route: str, body: Any, says: str
) -> None:
    answer = await client.post(f"/v1/tasks/{route}", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0].startswith(says)
    assert await state_of(client, submitted) == "queued"


@pytest.mark.parametrize("route", ["retry", "cancel"])
async def test_what_has_no_fields_takes_none(client: httpx.AsyncClient, failed: str, route: str) -> None:
    answer = await client.post(f"/v1/tasks/{failed}/{route}", json={"force": True})

    assert (answer.status_code, answer.json()["errors"]) == (422, ["body: must be empty"])
    assert await state_of(client, failed) == "failed"


@pytest.mark.parametrize("id", ["0198c0de-0000-7000-8000-000000000000", "abc", "0198C0DE-0000-7000-8000-000000000000"])
async def test_an_unknown_task_cannot_be_moved(client: httpx.AsyncClient, id: str) -> None:
    answers = [
        await client.post(f"/v1/tasks/{id}/cancel"),
        await client.post(f"/v1/tasks/{id}/retry"),
        await client.post(f"/v1/tasks/{id}/fork", json={"from_step": "find#0"}),
        await client.post(f"/v1/tasks/{id}/signals/go", json=1),
    ]

    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(404, "/problems/unknown-task")] * 4


async def test_where_the_ledger_confirms_nothing_a_key_makes_it_safe_to_ask_again(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        creating = [
            await client.post(f"/v1/tasks/{new_id()}/retry"),
            await client.post(f"/v1/tasks/{new_id()}/signals/go", json=1),
        ]
        others = [
            await client.post(f"/v1/tasks/{new_id()}/cancel"),
            await client.post(f"/v1/tasks/{new_id()}/fork", json={"from_step": "a#0"}),
            await client.post("/v1/tasks/cancel", json={"agent": "both"}),
            await client.post("/v1/tasks/retry", json={"agent": "both"}),
        ]

    assert {(answer.status_code, answer.headers["retry-after"]) for answer in creating + others} == {(503, "3")}
    assert all("Idempotency-Key" in answer.json()["detail"] for answer in creating)


class Forgetful:
    """A ledger whose answer to the first of each call is lost, and that is asked again as RemoteLedger does it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any, **named: Any) -> Any:
            await getattr(self._ledger, name)(*args, **named)
            return await getattr(self._ledger, name)(*args, **named)

        return ask


async def test_a_call_that_the_ledgers_death_cuts_off_does_nothing_twice(
    build: Build, ledger: Ledger, failed: str
) -> None:
    async with reaching(build(Forgetful(ledger))) as client:
        forked = await client.post(f"/v1/tasks/{failed}/fork", json={"from_step": "find#0"})
        retried = await client.post(f"/v1/tasks/{failed}/retry")
        signalled = await client.post(f"/v1/tasks/{failed}/signals/go", json=1)

    assert [answer.status_code for answer in (forked, retried, signalled)] == [202] * 3
    tasks = {task.id: task for task in await ledger.tasks("", Filter(), None, 10)}
    assert tasks.keys() == {failed, forked.json()["id"]}
    assert tasks[failed].signals == 1


async def test_what_there_is_no_room_for_may_be_asked_again(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.ticks.WAITING_LIMIT", 3)
    store = await opened()
    async with running(store, ManualClock()) as ledger, reaching(build(ledger)) as client:
        id = (await client.post("/v1/tasks", json={"agent": "both", "input": {"text": "hello"}})).json()["id"]
        store.gate.clear()
        accepted = []
        for _ in range(2):  # of which one is being committed and one waits, of two rows
            accepted.append(asyncio.create_task(client.post(f"/v1/tasks/{id}/signals/go", json="x" * 1500)))
            await settled()
        cron = {"agent": "both", "cron": "@daily", "input": {"text": "x" * 1500}}
        refused = [
            await client.post(f"/v1/tasks/{id}/signals/go", json="x" * 1500),
            await client.post(f"/v1/tasks/{id}/fork", json={"from_step": "a#0", "input": {"text": "x" * 1500}}),
            await client.put("/v1/schedules/daily", json=cron),
        ]
        store.gate.set()
        answers = await asyncio.gather(*accepted)

    assert [answer.status_code for answer in answers] == [202, 202]
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(429, "1")}
