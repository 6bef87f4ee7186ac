"""That nobody who waits at a gateway loses anything when its process ends."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cluster.ledger import Ledger
from deployments.gateway.departure import Departure
from tests.deployments.callers import called_by
from tests.deployments.driving import Call, events_in
from tests.deployments.ledgers import Hand

from .conftest import Build, reaching

TASK = {"agent": "both", "input": {"text": "hello"}}
LONG = {"Prefer": "wait=60"}


async def test_who_waits_for_a_task_gets_it_as_it_stands(build: Build, ledger: Ledger) -> None:
    app = build(ledger)
    async with reaching(app) as client:
        id = (await client.post("/v1/tasks", json=TASK)).json()["id"]
        asked = asyncio.create_task(client.get(f"/v1/tasks/{id}", headers=LONG))
        created = asyncio.create_task(client.post("/v1/tasks", json=TASK, headers=LONG))
        await asyncio.sleep(0.1)

        app.leave("drain")

        one, other = await asyncio.wait_for(asked, 5), await asyncio.wait_for(created, 5)
        assert (one.status_code, one.json()["state"]) == (200, "queued")
        assert (other.status_code, other.json()["state"]) == (202, "queued")
        assert (await ledger.counts()).tasks == {"both": {"queued": 2}}
        later = await asyncio.wait_for(client.get(f"/v1/tasks/{id}", headers=LONG), 5)
        assert later.json()["state"] == "queued"


async def test_a_stream_says_where_it_ends_and_is_resumed_there(build: Build, ledger: Ledger) -> None:
    app = build(ledger)
    async with reaching(app) as client:
        id = (await client.post("/v1/tasks", json=TASK)).json()["id"]
        hand = Hand(ledger, "both")
        claim = await hand.take()
        await hand.step(claim, "think", "1")
        call = Call(called_by(app), "GET", f"/v1/tasks/{id}/events")
        await call.start()
        told = b""
        while b"step.completed" not in told:
            told += await call.chunk()

        app.leave("drain")

        await asyncio.wait_for(call.task, 5)
        while not call.sent.empty():
            told += await call.chunk()
        assert told.endswith(b'event: restart\ndata: {"after":1}\n\n')
        await hand.complete(claim, '{"text":"done"}')
        rest = await client.get(f"/v1/tasks/{id}/events", headers={"Last-Event-ID": "1"})
        assert [event["type"] for event in events_in(rest.content.replace(b"retry: 1000\n\n", b""))] == ["output"]


async def test_a_caller_who_leaves_is_not_asked_for() -> None:
    departure, asked = Departure(), []

    async def ask(seconds: float) -> str:
        asked.append(seconds)
        await asyncio.sleep(seconds)
        return "here"

    waiting = asyncio.create_task(departure.patient(ask, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    both = asyncio.create_task(departure.patient(ask, 60))
    await asyncio.sleep(0)
    departure.begin("drain")
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both

    assert asked == [60, 60]
    assert await departure.patient(ask, 60) == "here"
    assert asked == [60, 60, 0]


async def test_answers_go_on_as_before(build: Build, ledger: Ledger) -> None:
    app = build(ledger)
    async with reaching(app) as client:
        app.leave("drain")
        created: httpx.Response = await client.post("/v1/tasks", json=TASK, headers=LONG)

    assert created.status_code == 202
