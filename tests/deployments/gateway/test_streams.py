"""What a caller may rely on who follows a task's events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from cluster.client import EventPage
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from deployments import sse
from tests.deployments.callers import called_by
from tests.deployments.driving import Call
from tests.deployments.ledgers import Hand

from .conformance import validate
from .conftest import Build, reaching


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream; each block's `id:` and `event:` agree with its data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["seq"]), event["type"])
            found.append(event)
    return found


async def run(hand: Hand) -> None:
    """One whole run: a step, a word, the end."""
    claim = await hand.take()
    await hand.step(claim, "think", "1")
    await hand.say(claim, "hello")
    await hand.complete(claim, '{"text":"done"}')


async def test_a_stream_holds_every_event_in_order_and_ends_after_the_last(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    await run(hand)

    answer = await client.get(f"/v1/tasks/{submitted}/events")

    found = events(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert [event["seq"] for event in found] == [0, 1, 2, 3]
    assert [event["type"] for event in found] == ["attempt.started", "step.completed", "progress", "output"]
    assert [event.get("step") for event in found] == [None, "think#0", None, None]
    assert found[-1]["data"] == {"output": {"text": "done"}}


async def test_an_event_is_as_it_is_documented(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    await run(hand)
    document = (await client.get("/openapi.json")).json()

    for event in events((await client.get(f"/v1/tasks/{submitted}/events")).text):
        validate(document, {"$ref": "#/components/schemas/Event"}, json.dumps(event))


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    await run(hand)

    answer = await client.get(f"/v1/tasks/{submitted}/events", headers={"Last-Event-ID": "1"})

    assert [event["seq"] for event in events(answer.text)] == [2, 3]


async def test_a_caller_who_has_seen_the_end_is_told_not_to_come_back(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    await run(hand)

    answer = await client.get(f"/v1/tasks/{submitted}/events", headers={"Last-Event-ID": "3"})

    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_stream_follows_a_task_that_runs_with_heartbeats_in_its_silences(
    build: Build, ledger: Ledger, hand: Hand, submitted: str
) -> None:
    call = Call(called_by(build(ledger)), "GET", f"/v1/tasks/{submitted}/events")
    await call.start()
    told = b""
    while sse.BEAT not in told:
        told += await call.chunk()

    await run(hand)

    await asyncio.wait_for(call.task, 10)
    after = b"".join([await call.chunk() for _ in range(call.sent.qsize())])
    assert b"event:" not in told
    assert [event["seq"] for event in events(after.decode())] == [0, 1, 2, 3]


@pytest.mark.parametrize(("end", "last"), [("cancel", "canceled"), ("fail", "failed"), ("complete", "output")])
async def test_every_end_ends_the_stream(
    client: httpx.AsyncClient, hand: Hand, submitted: str, end: str, last: str
) -> None:
    claim = await hand.take()
    if end == "cancel":
        await client.post(f"/v1/tasks/{submitted}/cancel")
        await hand.cancel(claim)
    elif end == "fail":
        await hand.fail(claim, '{"type":"E","title":"no","detail":"no","step":null,"attempt":1}')
    else:
        await hand.complete(claim, "{}")

    answer = await client.get(f"/v1/tasks/{submitted}/events")

    assert events(answer.text)[-1]["type"] == last


async def test_more_events_than_one_page_all_come(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    claim = await hand.take()
    await hand.say(claim, *map(str, range(1500)))
    await hand.complete(claim, "{}")

    answer = await client.get(f"/v1/tasks/{submitted}/events")

    assert [event["seq"] for event in events(answer.text)] == list(range(1502))


@pytest.mark.parametrize("seen", ["-1", "one", "1.5", "9" * 30, "²"])
async def test_a_last_event_id_that_is_none_is_refused(client: httpx.AsyncClient, submitted: str, seen: str) -> None:
    answer = await client.get(f"/v1/tasks/{submitted}/events", headers={b"Last-Event-ID": seen.encode()})

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-header")


class Forgetful:
    """A ledger that is out of reach from its second question for events on."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asked = False

    async def events(self, tenant: str, id: str, after: int, wait: float) -> EventPage | None:
        if self._asked:
            raise Unavailable("gone")
        self._asked = True
        return await self._ledger.events(tenant, id, after, wait)


async def test_a_stream_whose_ledger_goes_away_ends_so_that_it_can_be_resumed(
    build: Build, ledger: Ledger, hand: Hand, submitted: str
) -> None:
    await hand.take()

    async with reaching(build(Forgetful(ledger))) as client:
        answer = await client.get(f"/v1/tasks/{submitted}/events")

    assert [event["type"] for event in events(answer.text)] == ["attempt.started"]


async def test_a_caller_who_leaves_leaves_no_question_behind(
    build: Build, ledger: Ledger, hand: Hand, submitted: str
) -> None:
    app, gone, left = build(ledger), asyncio.Event(), asyncio.Event()
    before = asyncio.all_tasks()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"still here" in message.get("body", b""):
            left.set()

    path = f"/v1/tasks/{submitted}/events"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "asgi": {"version": "3.0"},
    }
    serving = asyncio.ensure_future(called_by(app)(scope, receive, send))
    await left.wait()

    gone.set()
    await serving

    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before
