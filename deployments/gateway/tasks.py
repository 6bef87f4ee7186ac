"""Routes that show tasks, what they have recorded and what they have said."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from cluster.pages import heft, is_cut, weight
from cluster.task import State

from ..documents import list_json, log_json, step_json, task_json
from ..prefer import applied, preference
from .answers import JSON_LINES, json_answer, known, task_answer, task_id
from .forms import ListQuery, StepsQuery, query
from .services import Services, tenant_of


class Tasks:
    """`GET /v1/tasks` and what lies below it, but for the event stream."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._logs = services.logs
        self._departure = services.departure

    async def one(self, request: Request) -> Response:
        id, prefers, tenant = task_id(request), preference(request.headers.getlist("prefer")), tenant_of(request)
        found = await self._departure.patient(partial(self._ledger.task, tenant, id), prefers.patience)
        task = known(found, id)
        why = await self._ledger.why(tenant, id) if task.state == State.QUEUED else None
        return task_answer(task, headers=applied(wait=prefers.wait), why=why)

    async def many(self, request: Request) -> Response:
        asked = query(request, ListQuery)
        found = await self._ledger.tasks(tenant_of(request), asked.filter, asked.cursor, asked.limit + 1)
        page = found[: asked.limit]
        more = len(found) > len(page) or is_cut(page, weight)
        return json_answer(list_json(map(task_json, page), page[-1].id if more else None))

    async def steps(self, request: Request) -> Response:
        id, asked = task_id(request), query(request, StepsQuery)
        steps = known(await self._ledger.steps(tenant_of(request), id, asked.cursor), id)
        return json_answer(list_json(map(step_json, steps), str(steps[-1].seq) if is_cut(steps, heft) else None))

    async def logs(self, request: Request) -> Response:
        id, tenant = task_id(request), tenant_of(request)
        known(await self._ledger.task(tenant, id), id)
        lines = await self._logs(tenant, id)
        return Response("".join(f"{log_json(line)}\n" for line in lines), media_type=JSON_LINES)
