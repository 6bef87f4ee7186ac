"""Replicas whose runs may leave for the background, for the tests that have them do so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from cluster.claims import Hello, Promotion
from cluster.ledger import Ledger
from cluster.task import Task
from deployments.replica import Links, Replica

from .driving import Answer, Call, ask, hosting
from .ledgers import Direct, running_ledger
from .walker import Walker, plan

LIVE = {"Accept": "text/event-stream"}
Make = Callable[..., Replica]


class Slow(Direct):
    """A promotion is written, and not answered before the test says so."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.written, self.gate = asyncio.Event(), asyncio.Event()

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        task = await super().promote(worker, call, promotion)
        self.written.set()
        await self.gate.wait()
        return task


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running_ledger() as ledger:
        yield ledger


@pytest.fixture
async def make(ledger: Ledger, tmp_path: Path) -> AsyncIterator[Make]:
    Walker.gate = asyncio.Event()
    Walker.began.clear()
    Walker.cancelled.clear()
    async with hosting() as host:

        def make(agent: str = "Walker", of: Any = None, link: Any = None, **policy: Any) -> Replica:
            entry = load(f"tests.deployments.walker:{agent}")
            how = Realtime(**({"deadline": 5.0} | policy))
            links = Links(of or ledger, link or Direct(ledger))
            app = Replica(entry, entry.agent(), how, partial(FolderArtifacts, tmp_path), links)
            host(app)
            return app

        yield make


def call(app: Replica, *walk: str, **headers: str) -> Call:
    return Call(app, "POST", "/run", json.dumps(plan(*walk)).encode(), headers=_names(headers))


async def answer(app: Replica, *walk: str, **headers: str) -> Answer:
    return await ask(app, "POST", "/run", json.dumps(plan(*walk)).encode(), headers=_names(headers))


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def answer_of(call: Call) -> Answer:
    await asyncio.wait_for(call.task, 10)
    return Answer([call.sent.get_nowait() for _ in range(call.sent.qsize())])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def queued(ledger: Ledger, id: str) -> Task:
    """The task, once its replica has given it back."""
    async with asyncio.timeout(5):
        while (task := await ledger.task("", id)) is None or task.state != "queued":
            await asyncio.sleep(0.002)
    return task


async def events_of(ledger: Ledger, id: str) -> list[tuple[int, str]]:
    page = await ledger.events("", id, -1, 0)
    assert page is not None
    return [(event.seq, event.type) for event in page.events]


def accepted(answer: Answer) -> str:
    assert answer.status == 202, answer.body
    assert answer.headers["location"] == f"/v1/tasks/{answer.json['id']}"
    assert answer.headers["task-id"] == answer.json["id"]
    return str(answer.json["id"])
