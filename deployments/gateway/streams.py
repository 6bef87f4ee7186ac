"""A task's events as a stream: what is committed already, then what comes, until the task's last event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from agents import RubatoError
from cluster.client import EventPage

from .. import sse
from ..access import is_good
from ..events import event_bytes
from .answers import known, task_id
from .headers import last_event_id
from .services import Services, tenant_of

POLL = 20.0  # seconds the ledger may keep one question for more

log = logging.getLogger(__name__)


class Streams:
    """`GET /v1/tasks/{id}/events`."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._heartbeat = services.heartbeat
        self._departure = services.departure

    async def events(self, request: Request) -> Response:
        """204 where the caller has seen the last event: to an EventSource that says not to come back."""
        id, tenant, after = task_id(request), tenant_of(request), last_event_id(request)
        page = known(await self._ledger.events(tenant, id, after, 0), id)
        if page.ended and not page.events:
            return Response(status_code=204)
        stream = self._stream(tenant, id, after, page, partial(is_good, request.scope))
        return StreamingResponse(stream, headers=sse.HEADERS, media_type=sse.MEDIA_TYPE)

    async def _stream(
        self, tenant: str, id: str, after: int, page: EventPage | None, goes_on: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """It ends early where `goes_on` says no: with the caller's key, say; and with a `restart` where this process
        ends."""
        yield sse.RETRY
        leaving = asyncio.ensure_future(self._departure.wait())
        try:
            while page is not None and goes_on():
                for event in page.events:
                    yield event_bytes(event)
                    after = event.seq
                if page.ended:
                    return
                asking = asyncio.ensure_future(self._ledger.events(tenant, id, after, POLL))
                try:
                    while not (await _first(asking, leaving, self._heartbeat)):
                        if not goes_on():
                            return
                        yield sse.BEAT
                    if not asking.done():
                        yield sse.encode("restart", f'{{"after":{after}}}')
                        return
                    page = asking.result()
                except RubatoError as error:  # the stream ends here, and a client resumes it where it was
                    log.warning("the events of task %s stop after %d: %s", id, after, error)
                    return
                finally:
                    asking.cancel()
        finally:
            leaving.cancel()


async def _first(asking: asyncio.Future[Any], leaving: asyncio.Future[Any], seconds: float) -> bool:
    """Whether one of these is done in time."""
    done, _ = await asyncio.wait([asking, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)
