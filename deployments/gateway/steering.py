"""Routes that move tasks which are there: one, or all that match."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agents.ids import derived_id, new_id
from cluster.task import Once

from .. import bodies
from ..prefer import NONE
from .answers import accepted, certain, known, matched, task_answer, task_id
from .forms import CancelFilter, Fork, RetryFilter, fill, no_fields, path_text
from .fragments import member
from .headers import idempotency_key
from .services import Services, tenant_of
from .submitting import ENVELOPE, background_agent, check_input, digest


class Steering:
    """`POST` to `/cancel`, `/retry`, `/fork` and `/signals/{name}` of a task, and `/v1/tasks/cancel` and `/retry`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger
        self._limit = services.limits.input

    async def cancel(self, request: Request) -> Response:
        id = task_id(request)
        await no_fields(request, "A cancel")
        return task_answer(known(await self._ledger.cancel(tenant_of(request), id), id))

    async def retry(self, request: Request) -> Response:
        id, tenant, key = task_id(request), tenant_of(request), idempotency_key(request)
        await no_fields(request, "A retry")
        with certain():
            task = await self._ledger.retry(tenant, id, _once(f"/v1/tasks/{id}/retry", key, None))
        return accepted(known(task, id), NONE)

    async def fork(self, request: Request) -> Response:
        """The new task has the version of today's code, whose input type its input must fit."""
        id, tenant, key = task_id(request), tenant_of(request), idempotency_key(request)
        body = await bodies.read(request, self._limit + ENVELOPE)
        whole = bodies.parse(body)
        form = fill(Fork, whole)
        source = known(await self._ledger.task(tenant, id), id)
        entry = background_agent(self._services.catalog, source.agent)
        given = member(body.decode(), "input") if "input" in form.model_fields_set else None
        check_input(entry, source.input if given is None else given, self._limit)
        route = f"/v1/tasks/{id}/fork"
        with certain():
            task = await self._ledger.fork(
                tenant,
                id,
                form.from_step,
                new_id=derived_id(tenant, route, key) if key else new_id(),
                input=given,
                version=entry.version,
                once=_once(route, key, whole),
            )
        return accepted(known(task, id), NONE)

    async def signal(self, request: Request) -> Response:
        """The payload is the body as it was sent; without one it is null."""
        id, tenant, key = task_id(request), tenant_of(request), idempotency_key(request)
        name = path_text(request, "name")
        body = await bodies.read(request, self._limit, "A signal's payload")
        text = body.strip(b" \t\r\n") or b"null"
        payload = bodies.parse(text)
        with certain():
            once = _once(f"/v1/tasks/{id}/signals/{name}", key, payload)
            task = await self._ledger.signal(tenant, id, name, text.decode(), once)
        return accepted(known(task, id), NONE)

    async def cancel_all(self, request: Request) -> Response:
        form = fill(CancelFilter, bodies.parse(await bodies.read(request, ENVELOPE)))
        return matched(await self._ledger.cancel_all(tenant_of(request), form.filter))

    async def retry_all(self, request: Request) -> Response:
        form = fill(RetryFilter, bodies.parse(await bodies.read(request, ENVELOPE)))
        return matched(await self._ledger.retry_all(tenant_of(request), form.filter))


def _once(route: str, key: str, whole: Any) -> Once:
    """The caller's key, else one of our own: a call that the ledger's death cuts off is made again by itself."""
    return Once(route, key or new_id(), digest(whole))
