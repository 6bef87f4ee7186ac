"""Routes of schedules: each creates tasks of one agent at set times."""

from __future__ import annotations

import asyncio
import re
import time

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from agents.ids import new_id
from cluster.schedule import Schedule, Template, made, policy_of, write
from cluster.task import Submission

from .. import bodies
from ..documents import list_json, schedule_json
from ..prefer import applied, preference
from ..problems import Refused, invalid_request, not_found
from . import documented as doc
from . import schedule_forms as forms
from . import schemas
from .accepting import Accepting
from .answers import Found, accepted, json_answer, task_answer
from .forms import fill, no_fields, query
from .fragments import member
from .headers import idempotency_key
from .services import Services, tenant_of
from .submitting import ENVELOPE, background_agent, check_input, digest, read_options

SCHEDULE = doc.parameter("name", "path", {"type": "string", "pattern": forms.NAME})


class Schedules:
    """`/v1/schedules` and what lies below it."""

    def __init__(self, services: Services, accepting: Accepting) -> None:
        self._catalog = services.catalog
        self._ledger = services.ledger
        self._limit = services.limits.input
        self._accepting = accepting

    async def many(self, request: Request) -> Response:
        asked = query(request, forms.ScheduleQuery)
        found = await self._ledger.schedules(tenant_of(request), asked.cursor or "", asked.limit + 1)
        page = found[: asked.limit]
        # Rare times take a while to find; in a thread, so that other requests get their turn.
        items = await asyncio.to_thread(lambda: [schedule_json(schedule) for schedule in page])
        return json_answer(list_json(items, page[-1].name if len(found) > len(page) else None))

    async def one(self, request: Request) -> Response:
        name = _name(request)
        return json_answer(schedule_json(_known(await self._ledger.schedule(tenant_of(request), name), name)))

    async def put(self, request: Request) -> Response:
        """Create it, or replace the one of that name."""
        name: str = request.path_params["name"]
        if not re.fullmatch(forms.NAME, name):
            raise Refused(invalid_request("Mend what is listed in `errors`.", (f"name: must match {forms.NAME}",)))
        body = await bodies.read(request, self._limit + ENVELOPE)
        asked, paused = self._read(body, tenant_of(request), name)
        kept, new = await self._ledger.put_schedule(asked, paused)
        headers = [("Location", f"/v1/schedules/{name}")] if new else []
        return json_answer(schedule_json(kept), 201 if new else 200, headers)

    async def delete(self, request: Request) -> Response:
        name = _name(request)
        _known(await self._ledger.delete_schedule(tenant_of(request), name) or None, name)
        return Response(status_code=204)

    async def pause(self, request: Request) -> Response:
        return await self._pause(request, paused=True)

    async def resume(self, request: Request) -> Response:
        return await self._pause(request, paused=False)

    async def run(self, request: Request) -> Response:
        """A task of it now, whatever else of it runs."""
        tenant, name, key = tenant_of(request), _name(request), idempotency_key(request)
        await no_fields(request, "A run of a schedule")
        schedule = _known(await self._ledger.schedule(tenant, name), name)
        entry = self._catalog.get(schedule.agent)
        policy = None if entry is None else policy_of(entry)
        task = made(schedule, new_id(), policy, time.time())
        route = f"/v1/schedules/{name}/run"
        asked = Submission(tenant, route, (task,), key, digest({}) if key else "")
        prefers = preference(request.headers.getlist("prefer"))
        task = await self._accepting.follow(asked, prefers)
        if prefers.wait is not None and task.ended:
            return task_answer(task, headers=applied(wait=prefers.wait))
        return accepted(task, prefers)

    async def _pause(self, request: Request, *, paused: bool) -> Response:
        name = _name(request)
        await no_fields(request, "A pause" if paused else "A resume")
        found = await self._ledger.pause_schedule(tenant_of(request), name, paused)
        return json_answer(schedule_json(_known(found, name)))

    def _read(self, body: bytes, tenant: str, name: str) -> tuple[Schedule, bool | None]:
        """The schedule that is asked for, and whether it is to be paused. Raises Refused."""
        form = fill(forms.NewSchedule, bodies.parse(body))
        entry = background_agent(self._catalog, form.agent)
        policy = policy_of(entry)
        assert policy is not None, "background_agent lets no other agent pass"
        text = member(body.decode(), "input")
        check_input(entry, text, self._limit)
        template = write(Template(read_options(form.options, entry), policy))
        times = (form.cron, form.zone, form.overlap, form.catch_up)
        return Schedule(tenant, name, entry.name, text, *times, template, 0, None, None, 0.0), form.paused


def add_schedules(app: FastAPI, schedules: Schedules) -> None:
    about, problems = {200: forms.Schedule}, [400, 404, 413, 503]
    doc.route(
        app,
        "GET /v1/schedules",
        schedules.many,
        "Schedules, by name",
        *doc.queries(forms.ScheduleQuery),
        answers={200: forms.ScheduleList},
        problems=[503],
    )
    doc.route(
        app, "GET /v1/schedules/{name}", schedules.one, "One schedule", SCHEDULE, answers=about, problems=[404, 503]
    )
    doc.route(
        app,
        "PUT /v1/schedules/{name}",
        schedules.put,
        "Create a schedule, or replace it",
        SCHEDULE,
        body=forms.NewSchedule,
        answers={201: forms.Schedule, 200: forms.Schedule},
        problems=[*problems, 409, 429],
    )
    doc.route(
        app,
        "DELETE /v1/schedules/{name}",
        schedules.delete,
        "Delete a schedule; the tasks that it created go on",
        SCHEDULE,
        answers={204: None},
        problems=[404, 503],
    )
    for verb, endpoint, summary in (
        ("pause", schedules.pause, "Pause a schedule"),
        ("resume", schedules.resume, "Let a schedule go on, and catch up as it says"),
    ):
        path = f"POST /v1/schedules/{{name}}/{verb}"
        doc.route(app, path, endpoint, summary, SCHEDULE, answers=about, problems=problems)
    doc.route(
        app,
        "POST /v1/schedules/{name}/run",
        schedules.run,
        "Create a task of a schedule now",
        *(SCHEDULE, doc.PREFER, doc.KEY),
        answers={202: schemas.Task, 200: schemas.Task},
        problems=[*problems, 409, 429],
    )


def _name(request: Request) -> str:
    """The name in the path. Raises Refused (404) where it cannot be one."""
    name: str = request.path_params["name"]
    return _known(name if re.fullmatch(forms.NAME, name) else None, name)


def _known(found: Found | None, name: str) -> Found:
    """What the ledger found. Raises Refused (404) for nothing."""
    if found is None:
        detail = f"There is no schedule {name[:80]!r}; GET /v1/schedules lists those there are."
        raise Refused(not_found("schedule", detail))
    return found
