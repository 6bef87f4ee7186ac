"""Routes that show tasks, and the one that asks for a task's end."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from cluster.task import State

from .. import bodies
from ..documents import list_json, log_json, step_json, task_json
from ..prefer import applied, preference
from ..problems import Refused, invalid_request
from .answers import json_answer, known, task_answer, task_id
from .forms import ListQuery, query
from .services import Services, tenant_of


class Tasks:
    """`GET /v1/tasks` and what lies below it, but for the event stream."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._logs = services.logs
        self._limit = services.limits.input

    async def one(self, request: Request) -> Response:
        id, prefers, tenant = task_id(request), preference(request.headers.getlist("prefer")), tenant_of(request)
        task = known(await self._ledger.task(tenant, id, prefers.patience), id)
        why = await self._ledger.why(tenant, id) if task.state == State.QUEUED else None
        return task_answer(task, headers=applied(wait=prefers.wait), why=why)

    async def many(self, request: Request) -> Response:
        asked = query(request, ListQuery)
        found = await self._ledger.tasks(tenant_of(request), asked.filter, asked.cursor, asked.limit + 1)
        page = found[: asked.limit]
        return json_answer(list_json(map(task_json, page), page[-1].id if len(found) > len(page) else None))

    async def cancel(self, request: Request) -> Response:
        id = task_id(request)
        body = await bodies.read(request, self._limit)
        if body.strip() and bodies.parse(body) != {}:
            raise Refused(invalid_request("A cancel has no fields.", ("body: must be empty",)))
        return task_answer(known(await self._ledger.cancel(tenant_of(request), id), id))

    async def steps(self, request: Request) -> Response:
        id = task_id(request)
        steps = known(await self._ledger.steps(tenant_of(request), id), id)
        return json_answer(list_json(map(step_json, steps)))

    async def logs(self, request: Request) -> Response:
        id, tenant = task_id(request), tenant_of(request)
        known(await self._ledger.task(tenant, id), id)
        lines = await self._logs(tenant, id)
        return Response("".join(f"{log_json(line)}\n" for line in lines), media_type="application/jsonl")
