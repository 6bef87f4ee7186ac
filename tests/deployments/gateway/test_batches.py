"""What a caller may rely on who has submitted many tasks at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Message

from agents.ids import new_id
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.task import Task
from deployments.bodies import Limits
from deployments.gateway import batches
from deployments.ingress import free_ports
from tests.deployments.callers import called_by
from tests.deployments.driving import Answer, Call
from tests.deployments.ledgers import Hand, Unreachable

from .conftest import ERROR, Build, reaching


async def submitted(client: httpx.AsyncClient, size: int) -> tuple[str, list[str]]:
    """The batch's id and its tasks'."""
    inputs = [{"text": str(number)} for number in range(size)]
    answer = await client.post("/v1/tasks/batch", json={"agent": "both", "inputs": inputs})
    assert answer.status_code == 202
    return answer.json()["batch_id"], answer.json()["task_ids"]


def lines(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_batch_counts_its_tasks_by_state(client: httpx.AsyncClient, hand: Hand) -> None:
    batch, ids = await submitted(client, 4)
    await client.post(f"/v1/tasks/{ids[3]}/cancel")
    first, second, _ = await hand.take_all()
    await hand.complete(first, "1")
    await hand.fail(second, ERROR)

    answer = await client.get(f"/v1/batches/{batch}")

    states = {"queued": 0, "running": 1, "waiting": 0, "completed": 1, "failed": 1, "canceled": 1}
    assert answer.json() == {"batch_id": batch, "total": 4, "done": 3, "states": states}


async def test_a_cancel_ends_what_has_not_ended_and_nothing_else(client: httpx.AsyncClient, hand: Hand) -> None:
    batch, ids = await submitted(client, 3)
    other, _ = await submitted(client, 1)
    await client.post(f"/v1/tasks/{ids[0]}/cancel")

    answer = await client.post(f"/v1/batches/{batch}/cancel")
    again = await client.post(f"/v1/batches/{batch}/cancel")

    assert (answer.status_code, answer.json(), again.json()) == (200, {"matched": 2}, {"matched": 0})
    assert (await client.get(f"/v1/batches/{batch}")).json()["states"]["canceled"] == 3
    assert (await client.get(f"/v1/batches/{other}")).json()["states"]["canceled"] == 0


async def test_results_come_in_the_order_of_the_inputs_whatever_their_states(
    client: httpx.AsyncClient, hand: Hand
) -> None:
    batch, ids = await submitted(client, 3)
    claims = await hand.take_all()
    await hand.fail(claims[2], ERROR)
    await hand.complete(claims[0], '{"text": "done",  "amount": 0.10000000000000000001}')

    answer = await client.get(f"/v1/batches/{batch}/results")

    assert '"output":{"text": "done",  "amount": 0.10000000000000000001}' in answer.text
    done, running, failed = lines(answer)
    assert [line["id"] for line in (done, running, failed)] == ids
    assert (done["state"], done["error"]) == ("completed", None)
    assert (running["state"], running["output"], running["error"]) == ("running", None, None)
    assert (failed["state"], failed["output"], failed["error"]) == ("failed", None, json.loads(ERROR))


async def test_many_results_come_whole(build: Build, ledger: Ledger) -> None:
    size = 2 * batches.PAGE
    async with reaching(build(ledger, Limits())) as client:
        batch, ids = await submitted(client, size)

        assert [line["id"] for line in lines(await client.get(f"/v1/batches/{batch}/results"))] == ids


class Watched:
    """A ledger that counts what it is asked for, and may be lost after so many pages."""

    def __init__(self, ledger: Ledger, lost_after: int = 1000) -> None:
        self._ledger = ledger
        self._lost_after = lost_after
        self.pages: list[int] = []  # the most tasks that each page may have

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        if len(self.pages) == self._lost_after:
            raise Unavailable("gone")
        self.pages.append(limit)
        return await self._ledger.in_batch(tenant, batch_id, after, limit)


class Slow(Call):
    """A reader that takes so many messages, and then none while `reading` is clear."""

    TAKES = 10

    async def _send(self, message: Message) -> None:
        if self.sent.qsize() >= self.TAKES:
            await self.reading.wait()
        await self.sent.put(dict(message))


async def test_results_are_read_no_faster_than_they_are_taken(build: Build, ledger: Ledger) -> None:
    watched = Watched(ledger)
    app = build(watched, Limits())
    async with reaching(app) as client:
        batch, ids = await submitted(client, 2 * batches.PAGE)

    call = Slow(app, "GET", f"/v1/batches/{batch}/results")
    call.reading.clear()
    await asyncio.sleep(0.05)
    taken, read = call.sent.qsize(), list(watched.pages)
    call.reading.set()
    await call.task

    answer = Answer([call.sent.get_nowait() for _ in range(call.sent.qsize())])
    assert (taken, read) == (Slow.TAKES, [batches.PAGE])
    assert [json.loads(line)["id"] for line in answer.body.splitlines()] == ids


async def test_where_results_are_large_few_are_read_at_once(
    build: Build, ledger: Ledger, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PAGE", 2)
    watched = Watched(ledger)
    async with reaching(build(watched)) as client:
        batch, _ = await submitted(client, 4)
        for claim in await hand.take_all():
            await hand.complete(claim, json.dumps("x" * (batches.PAGE_BYTES * 2 // 3)))

        found = lines(await client.get(f"/v1/batches/{batch}/results"))

    assert len(found) == 4
    assert watched.pages == [2, 1, 1, 1]


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """Where the application answers over real connections."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(called_by(app), port=port, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def test_results_that_cannot_be_read_to_the_end_break_off(build: Build, ledger: Ledger) -> None:
    app = build(Watched(ledger, lost_after=1), Limits())
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        batch, _ = await submitted(client, 2 * batches.PAGE)

        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await client.get(f"/v1/batches/{batch}/results")


@pytest.mark.parametrize("id", ["01a21830-9ab5-774f-a601-b277338c1dad", "abc", "0198C0DE-0000-7000-8000-000000000000"])
async def test_an_unknown_batch_is_a_404_everywhere(client: httpx.AsyncClient, id: str) -> None:
    answers = [
        await client.get(f"/v1/batches/{id}"),
        await client.get(f"/v1/batches/{id}/results"),
        await client.post(f"/v1/batches/{id}/cancel"),
    ]

    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [(404, "/problems/unknown-batch")] * 3


async def test_a_batchs_cancel_has_no_fields(client: httpx.AsyncClient) -> None:
    batch, _ = await submitted(client, 1)

    answer = await client.post(f"/v1/batches/{batch}/cancel", json={"state": "queued"})

    assert answer.status_code == 422
    assert (await client.get(f"/v1/batches/{batch}")).json()["states"]["queued"] == 1


async def test_an_unreachable_ledger_is_a_503_everywhere(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        answers = [
            await client.get(f"/v1/batches/{new_id()}"),
            await client.get(f"/v1/batches/{new_id()}/results"),
            await client.post(f"/v1/batches/{new_id()}/cancel"),
        ]

    assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "3")}
