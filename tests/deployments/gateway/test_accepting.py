"""What a caller may rely on who hands in tasks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from cluster.ledger import Ledger
from cluster.task import Filter
from tests.deployments.ledgers import Hand, Unreachable

from .conftest import Build, reaching

INPUT = {"text": "hello"}
TASK = {"agent": "both", "input": INPUT}
BATCH = {"agent": "both", "inputs": [{"text": "a"}, {"text": "b"}]}


async def test_a_task_is_accepted_with_its_agents_policy_and_can_be_found(
    client: httpx.AsyncClient, ledger: Ledger
) -> None:
    answer = await client.post("/v1/tasks", json=TASK)

    task = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
    assert (task["state"], task["input"], task["version"], task["tenant"]) == ("queued", INPUT, "v7", "")
    assert (task["run_at"], task["output"], task["error"], task["batch_id"]) == (None, None, None, None)
    assert (task["limit_key"], task["deadline"], task["parent_id"]) == ("default", None, None)
    assert (await client.get(answer.headers["location"])).json() | {"waiting_on": None} == task
    stored = await ledger.task("", task["id"])
    assert stored is not None
    assert (stored.max_attempts, stored.timeout) == (5, 90)


async def test_options_reach_the_task(client: httpx.AsyncClient, ledger: Ledger) -> None:
    options = {
        "priority": -100,
        "run_at": "2031-05-06T07:08:09.5+02:00",
        "timeout": 0.5,
        "max_attempts": 100,
        "tags": ["a", "ü" * 127],
        "limit_key": "acme/eu",
        "deadline": "2031-05-06T07:08:10+02:00",
        "retry": {"base": 0, "cap": 5, "jitter": 1},
    }

    answer = await client.post("/v1/tasks", json={**TASK, "options": options})

    task = answer.json()
    assert (task["priority"], task["tags"], task["run_at"]) == (-100, options["tags"], "2031-05-06T05:08:09.500Z")
    assert (task["limit_key"], task["deadline"]) == ("acme/eu", "2031-05-06T05:08:10.000Z")
    stored = await ledger.task("", task["id"])
    assert stored is not None
    assert (stored.max_attempts, stored.timeout) == (100, 0.5)
    assert stored.retry == options["retry"]
    assert stored.run_at == datetime(2031, 5, 6, 5, 8, 9, 500_000, tzinfo=UTC).timestamp()


async def test_what_is_not_said_of_the_retries_is_the_agents_own(client: httpx.AsyncClient, ledger: Ledger) -> None:
    for given, stored in {"{}": None, '{"cap":30}': {"base": 2, "cap": 30, "jitter": 0.25}}.items():
        answer = await client.post(
            "/v1/tasks", content=f'{{"agent":"both","input":{{"text":"a"}},"options":{{"retry":{given}}}}}'
        )

        task = await ledger.task("", answer.json()["id"])
        assert task is not None
        assert task.retry == stored


async def test_options_hold_for_each_task_of_a_batch(client: httpx.AsyncClient, ledger: Ledger) -> None:
    options = {"limit_key": "k", "deadline": "2031-01-01T00:00:00Z", "retry": {"base": 1}}

    await client.post("/v1/tasks/batch", json={**BATCH, "options": options})

    tasks = await ledger.tasks("", Filter(), None, 10)
    assert [(task.limit_key, task.deadline, task.retry and task.retry["base"]) for task in tasks] == [
        ("k", datetime(2031, 1, 1, tzinfo=UTC).timestamp(), 1)
    ] * 2


async def test_what_was_accepted_in_time_is_replayed_after_its_deadline(client: httpx.AsyncClient) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()
    late = {**TASK, "options": {"deadline": soon}}
    key = {"Idempotency-Key": "k"}
    first = await client.post("/v1/tasks", json=late, headers=key)
    await asyncio.sleep(0.3)

    again = await client.post("/v1/tasks", json=late, headers=key)
    anew = await client.post("/v1/tasks", json=late)

    assert (first.status_code, again.status_code, anew.status_code) == (202, 202, 422)
    assert again.json()["id"] == first.json()["id"]
    assert anew.json()["errors"] == ["options.deadline: has passed already"]


async def test_an_input_is_stored_as_it_was_sent_with_every_digit(client: httpx.AsyncClient, ledger: Ledger) -> None:
    text = '{"amount" : 0.12345678901234567890123456789, "text": "\\u00fc"}'

    answer = await client.post("/v1/tasks", content=f'{{"input": {text} , "agent": "both"}}')

    stored = await ledger.task("", answer.json()["id"])
    assert stored is not None
    assert stored.input == text


async def test_a_caller_who_waits_gets_the_ended_task(client: httpx.AsyncClient, hand: Hand) -> None:
    waiting = asyncio.create_task(client.post("/v1/tasks", json=TASK, headers={"Prefer": "wait=30"}))
    claim = await hand.take()

    await hand.complete(claim, '{"text":"done","amount":null}')

    answer = await waiting
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert (answer.json()["state"], answer.json()["output"]["text"]) == ("completed", "done")


async def test_a_caller_whose_wait_is_over_gets_the_task_as_it_stands(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json=TASK, headers={"Prefer": "respond-async, wait=0"})

    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async, wait=0"
    assert answer.json()["state"] == "queued"


async def test_a_longer_wait_than_allowed_is_cut_and_said_so(client: httpx.AsyncClient, hand: Hand) -> None:
    waiting = asyncio.create_task(client.post("/v1/tasks", json=TASK, headers={"Prefer": "wait=86400"}))

    await hand.complete(await hand.take(), '{"text":"done"}')

    assert (await waiting).headers["preference-applied"] == "wait=300"


async def test_a_prefer_that_does_not_parse_is_ignored(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/tasks", json=TASK, headers={"Prefer": 'wait=soon, "=;;'})

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_one_key_and_body_create_one_task(client: httpx.AsyncClient, ledger: Ledger) -> None:
    spaced = b'{ "input": {"text": "hello"}, "agent": "both" }'

    first = await client.post("/v1/tasks", json=TASK, headers={"Idempotency-Key": "k"})
    again = await client.post("/v1/tasks", content=spaced, headers={"Idempotency-Key": "k"})

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert len(await ledger.tasks("", Filter(), None, 10)) == 1


async def test_a_replay_shows_the_task_as_it_is_now(client: httpx.AsyncClient, hand: Hand) -> None:
    key = {"Idempotency-Key": "k"}
    await client.post("/v1/tasks", json=TASK, headers=key)
    await hand.complete(await hand.take(), '{"text":"done"}')

    plain = await client.post("/v1/tasks", json=TASK, headers=key)
    patient = await client.post("/v1/tasks", json=TASK, headers={**key, "Prefer": "wait=5"})

    assert (plain.status_code, plain.json()["state"]) == (202, "completed")
    assert (patient.status_code, patient.json()["state"]) == (200, "completed")


async def test_a_key_with_another_body_is_refused(client: httpx.AsyncClient, ledger: Ledger) -> None:
    key = {"Idempotency-Key": "k"}
    await client.post("/v1/tasks", json=TASK, headers=key)

    other = await client.post("/v1/tasks", json={**TASK, "input": {"text": "bye"}}, headers=key)

    assert (other.status_code, other.json()["type"]) == (409, "/problems/conflict")
    assert len(await ledger.tasks("", Filter(), None, 10)) == 1


async def test_a_key_means_another_thing_on_another_route(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}

    answers = [
        await client.post("/v1/tasks", json=TASK, headers=key),
        await client.post("/v1/tasks/batch", json=BATCH, headers=key),
        await client.post("/v1/agents/later/run", json=INPUT, headers={**key, "Prefer": "respond-async"}),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 202]


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"x" * 10_000, b"a\tb", "ü".encode(), b"a\x7f"])
async def test_a_key_that_cannot_be_used_is_refused(client: httpx.AsyncClient, ledger: Ledger, key: bytes) -> None:
    for route, body in {"/v1/tasks": TASK, "/v1/tasks/batch": BATCH}.items():
        answer = await client.post(route, json=body, headers={b"Idempotency-Key": key})

        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-header")
    assert not await ledger.tasks("", Filter(), None, 10)


async def test_two_keys_are_refused(client: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    answer = await client.post("/v1/tasks", json=TASK, headers=headers)

    assert answer.status_code == 400


async def test_a_batch_is_accepted_as_one(client: httpx.AsyncClient, ledger: Ledger) -> None:
    answer = await client.post("/v1/tasks/batch", json={**BATCH, "options": {"tags": ["t"]}})

    batch = answer.json()
    listed = await client.get("/v1/tasks", params={"batch_id": batch["batch_id"], "tag": "t"})
    assert answer.status_code == 202
    assert [task["id"] for task in listed.json()["items"]] == batch["task_ids"][::-1]
    assert [task["input"] for task in listed.json()["items"]] == BATCH["inputs"][::-1]


async def test_one_key_and_body_create_one_batch(client: httpx.AsyncClient, ledger: Ledger) -> None:
    key = {"Idempotency-Key": "k"}

    first = await client.post("/v1/tasks/batch", json=BATCH, headers=key)
    again = await client.post("/v1/tasks/batch", json=BATCH, headers=key)
    other = await client.post("/v1/tasks/batch", json={**BATCH, "inputs": [INPUT]}, headers=key)

    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 409)
    assert first.json() == again.json()
    assert len(await ledger.tasks("", Filter(), None, 10)) == 2


async def test_a_batch_with_wrong_lines_names_them_and_accepts_none(client: httpx.AsyncClient, ledger: Ledger) -> None:
    inputs = [{"text": "a"}, {"txt": "b"}, {"text": "c"}, 4]

    answer = await client.post("/v1/tasks/batch", json={"agent": "both", "inputs": inputs})

    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems/invalid-input")
    assert problem["detail"].startswith("2 of 4 inputs")
    assert {line.split(":")[0] for line in problem["errors"]} == {"inputs.1", "inputs.3"}
    assert not await ledger.tasks("", Filter(), None, 10)


async def test_a_batch_with_many_wrong_lines_names_the_first_of_them(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/tasks/batch", json={"agent": "both", "inputs": [{"a": 1, "b": 2}] * 60})

    errors = answer.json()["errors"]
    assert [line.split(":")[0] for line in errors] == [f"inputs.{line}" for line in range(50)]


async def test_an_unreachable_ledger_is_a_503_that_tells_how_to_go_on(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        one = await client.post("/v1/tasks", json=TASK)
        patient = await client.post("/v1/tasks", json=TASK, headers={"Prefer": "wait=1"})
        many = await client.post("/v1/tasks/batch", json=BATCH)

    for answer in (one, patient, many):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert "Idempotency-Key" in answer.json()["detail"]
        assert "10.0.0.7" not in answer.text
    assert one.headers["task-id"]
