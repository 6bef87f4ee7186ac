"""What a caller may rely on who looks at tasks, or ends one."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from agents.ids import new_id
from cluster import pages
from cluster.tasklog import LogLine
from tests.deployments.ledgers import Hand, Unreachable

from .conftest import Build, reaching

BELOW = ["", "/steps", "/events", "/logs"]


async def test_a_task_tells_its_whole_life(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    claim = await hand.take()
    running = (await client.get(f"/v1/tasks/{submitted}")).json()

    await hand.fail(claim, '{"type":"ValueError","title":"no","detail":"not today","step":null,"attempt":1}')

    failed = (await client.get(f"/v1/tasks/{submitted}")).json()
    assert (running["state"], running["attempts"], running["ended_at"]) == ("running", 1, None)
    assert (failed["state"], failed["error"]["detail"], failed["output"]) == ("failed", "not today", None)
    assert failed["created_at"] <= failed["started_at"] <= failed["ended_at"]


async def test_a_wait_returns_when_the_task_ends(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    claim = await hand.take()
    waiting = asyncio.create_task(client.get(f"/v1/tasks/{submitted}", headers={"Prefer": "wait=30"}))
    await asyncio.sleep(0.05)
    assert not waiting.done()

    await hand.complete(claim, '{"text":"done"}')

    answer = await waiting
    assert answer.json()["state"] == "completed"
    assert answer.headers["preference-applied"] == "wait=30"


async def test_a_list_goes_back_in_time_page_by_page(client: httpx.AsyncClient) -> None:
    batch = {"agent": "both", "inputs": [{"text": str(n)} for n in range(5)]}
    ids = (await client.post("/v1/tasks/batch", json=batch)).json()["task_ids"]

    pages: list[list[str]] = []
    cursor = None
    while cursor or not pages:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/tasks", params=params)).json()
        pages.append([task["id"] for task in page["items"]])
        cursor = page["next_cursor"]

    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


async def test_a_page_of_large_tasks_is_shorter_and_says_where_to_go_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = {"agent": "both", "inputs": [{"text": str(n)} for n in range(3)]}
    ids = (await client.post("/v1/tasks/batch", json=batch)).json()["task_ids"]
    monkeypatch.setattr(pages, "PAGE_BYTES", 1)

    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await client.get("/v1/tasks", params={"cursor": cursor} if cursor else {})).json()
        found += [task["id"] for task in page["items"]]
        cursor = page["next_cursor"]
        assert len(page["items"]) == 1 or cursor is None

    assert found == ids[::-1]


async def test_a_list_holds_what_is_asked_for(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    keyed = {"Idempotency-Key": "k"}
    tagged = {"agent": "later", "input": {"text": "x"}, "options": {"tags": ["red"]}}
    other = (await client.post("/v1/tasks", json=tagged, headers=keyed)).json()["id"]
    await hand.take()

    async def listed(**params: str) -> list[str]:
        return [task["id"] for task in (await client.get("/v1/tasks", params=params)).json()["items"]]

    assert await listed() == [other, submitted]
    assert await listed(agent="both") == await listed(state="running") == [submitted]
    assert await listed(tag="red") == await listed(idempotency_key="k") == await listed(state="queued") == [other]
    assert await listed(tag="red", agent="both") == await listed(agent="gone") == await listed(batch_id=new_id()) == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("agnet=both", "agnet: there is no such query parameter; did you mean 'agent'?"),
        ("state=done", "state: "),
        ("limit=0", "limit: "),
        ("limit=201", "limit: "),
        ("limit=ten", "limit: "),
        ("cursor=abc", "cursor: "),
        ("batch_id=1", "batch_id: "),
        ("state=queued&state=failed", "state: is given twice"),
        ("agent=%00", "agent: holds the character NUL"),
        ("agent=%ff", "agent: is not UTF-8"),
        ("tag=", "tag: "),
        ("tag=" + "x" * 256, "tag: "),
    ],
)
async def test_a_query_that_does_not_fit_is_refused(client: httpx.AsyncClient, query: str, names: str) -> None:
    answer = await client.get(f"/v1/tasks?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0].startswith(names)


async def test_a_query_where_none_is_taken_is_refused(client: httpx.AsyncClient, submitted: str) -> None:
    answer = await client.get(f"/v1/tasks/{submitted}?wait=5")

    assert answer.status_code == 422


async def test_steps_are_shown_in_the_order_they_were_recorded(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    claim = await hand.take()
    await hand.step(claim, "find", '[1, "two"]')
    await hand.step(claim, "draft", "null")

    journal = (await client.get(f"/v1/tasks/{submitted}/steps")).json()

    assert [(step["name"], step["key"], step["value"]) for step in journal["items"]] == [
        ("find", "#0", [1, "two"]),
        ("draft", "#0", None),
    ]


async def test_a_journal_of_large_values_comes_in_pages(
    client: httpx.AsyncClient, hand: Hand, submitted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await hand.take()
    for name in ("find", "draft", "check"):
        await hand.step(claim, name, "1")
    monkeypatch.setattr(pages, "PAGE_BYTES", 2 * pages.ROW_BYTES)

    first = (await client.get(f"/v1/tasks/{submitted}/steps")).json()
    rest = (await client.get(f"/v1/tasks/{submitted}/steps", params={"cursor": first["next_cursor"]})).json()

    assert [step["name"] for step in first["items"]] == ["find", "draft"]
    assert [step["name"] for step in rest["items"]] == ["check"]
    assert rest["next_cursor"] is None


async def test_logs_are_json_lines(client: httpx.AsyncClient, submitted: str, said: dict[str, list[LogLine]]) -> None:
    said[submitted] = [LogLine(1.5, submitted, "", 1, "INFO", "stdout", "one\ntwo"), *[]]

    answer = await client.get(f"/v1/tasks/{submitted}/logs")

    assert answer.headers["content-type"] == "application/jsonl"
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"at": "1970-01-01T00:00:01.500Z", "attempt": 1, "level": "INFO", "logger": "stdout", "message": "one\ntwo"}
    ]


@pytest.mark.parametrize("id", ["0198c0de-0000-7000-8000-000000000000", "abc", "0198C0DE-0000-7000-8000-000000000000"])
async def test_an_unknown_task_is_a_404_everywhere(client: httpx.AsyncClient, id: str) -> None:
    answers = [await client.get(f"/v1/tasks/{id}{below}") for below in BELOW]
    answers.append(await client.post(f"/v1/tasks/{id}/cancel"))

    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [
        (404, "/problems/unknown-task")
    ] * len(answers)


async def test_an_unreachable_ledger_is_a_503_everywhere(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        answers = [await client.get(f"/v1/tasks/{new_id()}{below}") for below in BELOW]
        answers += [await client.post(f"/v1/tasks/{new_id()}/cancel"), await client.get("/v1/tasks")]

    assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "3")}
    assert not any("10.0.0.7" in answer.text for answer in answers)
