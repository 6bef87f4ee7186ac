"""Routes of tasks that were submitted together: how far they are, their end, their results."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from agents.ids import is_id
from cluster.task import Filter, Task

from ..documents import batch_json, result_json
from ..problems import Refused, not_found
from .answers import JSON_LINES, Found, json_answer, matched
from .forms import no_fields
from .services import Services, tenant_of

PAGE = 64  # tasks that are read at once ...
PAGE_BYTES = 4 * 2**20  # ... and fewer where what they hold would be much more than this


class Batches:
    """`GET /v1/batches/{id}`, `POST /v1/batches/{id}/cancel` and `GET /v1/batches/{id}/results`."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger

    async def one(self, request: Request) -> Response:
        id = _batch_id(request)
        return json_answer(batch_json(_known(await self._ledger.batch(tenant_of(request), id), id)))

    async def cancel(self, request: Request) -> Response:
        id, tenant = _batch_id(request), tenant_of(request)
        await no_fields(request, "A cancel")
        _known(await self._ledger.batch(tenant, id), id)
        return matched(await self._ledger.cancel_all(tenant, Filter(batch_id=id)))

    async def results(self, request: Request) -> Response:
        """A line for each task as it stands when its page is read, whether it has ended or not."""
        id, tenant = _batch_id(request), tenant_of(request)
        page = _known(await self._ledger.in_batch(tenant, id, "", PAGE) or None, id)
        return StreamingResponse(self._lines(tenant, id, page), media_type=JSON_LINES)

    async def _lines(self, tenant: str, id: str, page: list[Task]) -> AsyncIterator[bytes]:
        """Where the ledger is lost half-way this raises, and the connection breaks off: no end that looks like one."""
        while page:
            for task in page:
                yield result_json(task).encode() + b"\n"
            page = await self._ledger.in_batch(tenant, id, page[-1].id, _room(page))


def _room(page: list[Task]) -> int:
    """How many tasks to read next, by what those before had in them."""
    largest = max(len(task.input) + len(task.output or "") for task in page)
    return max(1, min(PAGE, PAGE_BYTES // max(1, largest)))


def _batch_id(request: Request) -> str:
    """The id in the path. Raises Refused (404) where it cannot be one."""
    id: str = request.path_params["id"]
    return _known(id if is_id(id) else None, id)


def _known(found: Found | None, id: str) -> Found:
    """What the ledger found. Raises Refused (404) for nothing."""
    if found is None:
        raise Refused(not_found("batch", f"There is no batch {id[:80]!r}; each task in GET /v1/tasks names its own."))
    return found
