"""Routes that create tasks: durable first, then the answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from agents.ids import new_id
from cluster.errors import Unavailable
from cluster.task import Submission, Task

from .. import bodies
from ..prefer import Preference, applied, preference
from ..problems import Refused
from .answers import accepted, certain, json_answer, known, task_answer, uncertain
from .headers import idempotency_key
from .services import Services, tenant_of
from .submitting import ENVELOPE, read_batch, read_task, submission

TASKS = "/v1/tasks"
BATCHES = "/v1/tasks/batch"


class Accepting:
    """`POST /v1/tasks` and `POST /v1/tasks/batch`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger

    async def task(self, request: Request) -> Response:
        tenant, key = tenant_of(request), idempotency_key(request)
        limit = self._services.limits.input
        body = await bodies.read(request, limit + ENVELOPE)
        order = read_task(self._services.catalog, body, limit)
        asked = submission(order, tenant=tenant, route=TASKS, key=key, now=time.time(), ids=[new_id()])
        prefers = preference(request.headers.getlist("prefer"))
        task = await self.follow(asked, prefers)
        if prefers.wait is not None and task.ended:
            return task_answer(task, headers=applied(wait=prefers.wait))
        return accepted(task, prefers)

    async def batch(self, request: Request) -> Response:
        tenant, key = tenant_of(request), idempotency_key(request)
        body = await bodies.read(request, self._services.limits.batch)
        # Ten thousand inputs take a while to check; in a thread, so that other requests get their turn.
        asked = await asyncio.to_thread(self._read_batch, body, tenant, key)
        with certain():
            submitted = await self._ledger.submit(asked)
        ids = ",".join(f'"{id}"' for id in submitted.task_ids)
        return json_answer(f'{{"batch_id":"{submitted.batch_id}","task_ids":[{ids}]}}', 202)

    async def follow(self, asked: Submission, prefers: Preference) -> Task:
        """The one task that this submission created, now or when it was first sent, once it ended or the wait the
        caller prefers is over. Raises Refused."""
        task = asked.tasks[0]
        try:
            if prefers.patience:
                ask = partial(self._ledger.submit_and_wait, asked)
                submitted, found = await self._services.departure.patient(ask, prefers.patience)
            else:
                submitted = await self._ledger.submit(asked)
                found = await self._ledger.task(task.tenant, submitted.task_ids[0]) if submitted.replayed else task
        except Unavailable as error:
            problem = uncertain(error)
            raise Refused(replace(problem, headers=(*problem.headers, ("Task-Id", task.id)))) from error
        return known(found, submitted.task_ids[0])

    def _read_batch(self, body: bytes, tenant: str, key: str) -> Submission:
        order = read_batch(self._services.catalog, body, self._services.limits.input)
        ids, batch_id = [new_id() for _ in order.texts], new_id()
        return submission(order, tenant=tenant, route=BATCHES, key=key, now=time.time(), ids=ids, batch_id=batch_id)
