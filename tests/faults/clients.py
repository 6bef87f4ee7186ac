"""Clients who submit, follow, signal and cancel over HTTP, and ask again until they are answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from agents.artifacts import artifact_store
from agents.catalog import Catalog
from cluster.remote import RemoteLedger
from cluster.task import ENDED
from cluster.tasklog import LogLine
from deployments.gateway import gateway_app
from tests.deployments.callers import called_by

from .history import Told
from .laborers import SIGNAL, Job

ASK_AGAIN = {429, 503}
PATIENCE = 120.0  # seconds in which an answer must come, and a task end, once nothing is in trouble any more
WAIT = 5  # seconds that a caller waits for a task at a time


@asynccontextmanager
async def gateway(folder: Path, references: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    """Calls of the gateway, which soon gives up on a ledger that is away."""

    async def logs(tenant: str, task_id: str) -> list[LogLine]:
        return []

    ledger = RemoteLedger(patience=1.0)
    store = str(folder / "artifacts")
    app = gateway_app(Catalog.load(references), ledger, lambda tenant: artifact_store(store, tenant), logs)
    transport = httpx.ASGITransport(called_by(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as http:
        yield http


class Client:
    """One of several, each with tasks of its own; what it learns it adds to what all of them were told."""

    def __init__(self, name: str, http: httpx.AsyncClient, told: Told, roll: random.Random, trace: Path) -> None:
        self._name = name
        self._http = http
        self._told = told
        self._roll = roll
        self._trace = trace
        self._number = 0
        self._over: Callable[[], bool] = lambda: True
        self._since = time.monotonic()  # when trouble was last seen

    async def run(self, until: Callable[[], bool], after: float) -> None:
        """One errand after the other, from so many seconds on; the last one is finished whenever it was begun."""
        self._over = until
        await asyncio.sleep(after)
        errands = (self._haul, self._haul_in_a_row, self._haul_many, self._juggle, self._cancel)
        while not until():
            await self._roll.choice(errands)()

    # errands

    async def _haul(self) -> None:
        job = self._job()
        await self._follow(await self._submit("hauler", job, twice=self._roll.random() < 0.2))

    async def _haul_in_a_row(self) -> None:
        ids = [await self._submit("hauler", self._job()) for _ in range(6)]
        for id in ids:
            await self._follow(id)

    async def _haul_many(self) -> None:
        jobs = [self._job() for _ in range(4)]
        body = {"agent": "hauler", "inputs": [job.model_dump() for job in jobs]}
        answer = await self._ask("POST", "/v1/tasks/batch", 202, body, key=jobs[0].name)
        for id, job in zip(answer["task_ids"], jobs, strict=True):
            self._told.names[id] = job.name
        for id in answer["task_ids"]:
            await self._follow(id)

    async def _juggle(self) -> None:
        id = await self._submit("juggler", self._job())
        await asyncio.sleep(self._roll.uniform(0, 0.5))
        await self._ask("POST", f"/v1/tasks/{id}/signals/{SIGNAL}", 202, key=f"{id} {SIGNAL}", ended_is_fine=True)
        await self._follow(id)

    async def _cancel(self) -> None:
        agent = self._roll.choice(["hauler", "juggler"])
        id = await self._submit(agent, self._job())
        if agent == "juggler" and self._roll.random() < 0.5:
            await self._ask("POST", f"/v1/tasks/{id}/signals/{SIGNAL}", 202, key=f"{id} {SIGNAL}", ended_is_fine=True)
        await asyncio.sleep(self._roll.uniform(0, 0.8))
        self._told.canceled.add(id)
        await self._ask("POST", f"/v1/tasks/{id}/cancel", 200, ended_is_fine=True)
        await self._follow(id)

    # what they are made of

    def _job(self) -> Job:
        self._number += 1
        seconds = self._roll.choice([0.0, 0.01, 0.05, 0.1])
        return Job(trace=str(self._trace), name=f"{self._name}.{self._number}", seconds=seconds)

    async def _submit(self, agent: str, job: Job, *, twice: bool = False) -> str:
        """The id of the accepted task; where it is submitted twice at once, both answers must name one task."""
        body = {"agent": agent, "input": job.model_dump()}
        asked = [self._ask("POST", "/v1/tasks", 202, body, key=job.name) for _ in range(1 + twice)]
        ids = {answer["id"] for answer in await asyncio.gather(*asked)}
        if len(ids) > 1:
            self._told.breaches.append(f"{job.name} was accepted under one key as {sorted(ids)}")
        self._told.names.update(dict.fromkeys(ids, job.name))
        return str(ids.pop())

    async def _follow(self, id: str) -> None:
        task = None
        while self._waits():
            task = await self._ask("GET", f"/v1/tasks/{id}", 200, wait=WAIT)
            if task["state"] in ENDED:
                self._told.ends[id] = (task["state"], task["output"])
                return
        self._told.breaches.append(f"{id} has not ended in {PATIENCE:.0f} s: {task}")

    def _waits(self) -> bool:
        """Whether it is too early to give up."""
        if not self._over():
            self._since = time.monotonic()
        return time.monotonic() < self._since + PATIENCE

    async def _ask(
        self,
        method: str,
        path: str,
        expected: int,
        body: Any = None,
        *,
        key: str = "",
        wait: int = 0,
        ended_is_fine: bool = False,
    ) -> Any:
        """The answer; where there is none now, the same is asked again."""
        headers = {"Idempotency-Key": key} if key else {}
        headers |= {"Prefer": f"wait={wait}"} if wait else {}
        while self._waits():
            answer = await self._http.request(method, path, json=body, headers=headers)
            if answer.status_code not in ASK_AGAIN:
                assert answer.status_code == expected or (ended_is_fine and answer.status_code == 409), answer.text
                return answer.json()
            self._told.refusals[answer.status_code] += 1
            self._told.replays += method == "POST"
            await asyncio.sleep(float(answer.headers["Retry-After"]) * self._roll.uniform(0.2, 1))
        raise AssertionError(f"{method} {path} was not answered in {PATIENCE:.0f} s: {answer.text}")
