"""Routes of agents as such: which there are, and a run of those that have no application of their own."""

from __future__ import annotations

import json
import time

from starlette.requests import Request
from starlette.responses import Response

from agents.catalog import Entry
from agents.ids import derived_id, new_id
from cluster.task import State, Task

from .. import bodies
from ..access import SUBMITS, caller_of, demand
from ..describe import describe
from ..documents import list_json
from ..prefer import Preference, applied, preference
from ..problems import Problem, Refused, conflict, unavailable
from . import pausing
from .accepting import Accepting
from .answers import accepted, failed, json_answer
from .headers import idempotency_key
from .services import Services, tenant_of
from .sessions import keyed_by, session_of
from .submitting import named_agent, read_run, submission


class Runs:
    """`GET /v1/agents`, `GET /v1/agents/{name}`, and `POST /v1/agents/{name}/run`, `/pause` and `/resume`.

    A request about an agent with an application of its own comes here only while that application is not up.
    """

    def __init__(self, services: Services, accepting: Accepting) -> None:
        self._services = services
        self._accepting = accepting
        self._documents = {name: json.dumps(describe(entry)) for name, entry in services.catalog.items()}

    async def many(self, request: Request) -> Response:
        return json_answer(list_json(self._documents.values()))

    async def one(self, request: Request) -> Response:
        return json_answer(self._documents[self._entry(request).name])

    async def pause(self, request: Request) -> Response:
        return await pausing.pause(self._services.ledger, self._entry(request), request)

    async def resume(self, request: Request) -> Response:
        return await pausing.resume(self._services.ledger, self._entry(request), request)

    async def run(self, request: Request) -> Response:
        """As a task, and only for a caller who takes one: 200 if it completed within the wait, else 202."""
        entry, prefers = self._entry(request), preference(request.headers.getlist("prefer"))
        if not prefers.respond_async or entry.agent.background is None:
            raise Refused(_not_here(entry))
        demand(caller_of(request.scope), SUBMITS)
        tenant, key, session = tenant_of(request), idempotency_key(request), session_of(request.scope)
        route = keyed_by(f"/v1/agents/{entry.name}", session)
        limit = self._services.limits.input
        order = read_run(entry, await bodies.read(request, limit, "The input"), limit, session)
        id = derived_id(tenant, route, key) if key else new_id()
        asked = submission(order, tenant=tenant, route=route, key=key, now=time.time(), ids=[id])
        return _answer(await self._accepting.follow(asked, prefers), prefers)

    def _entry(self, request: Request) -> Entry:
        return named_agent(self._services.catalog, request.path_params["name"])


def _answer(task: Task, prefers: Preference) -> Response:
    if prefers.wait is None or not task.ended:
        response = accepted(task, prefers)
    elif task.state == State.COMPLETED and task.output is not None:
        honoured = applied(respond_async=True, wait=prefers.wait)
        response = json_answer(task.output, headers=[("Answer", "full"), *honoured])
    else:
        response = failed(task).response()
    response.headers["Task-Id"] = task.id
    return response


def _not_here(entry: Entry) -> Problem:
    if entry.agent.realtime is not None:
        return unavailable(f"Agent {entry.name!r} is not up: it is starting, or it failed to.", 2)
    detail = f"Agent {entry.name!r} only runs in the background; send `Prefer: respond-async` to get a task."
    return conflict(detail, "/problems/background-only")
