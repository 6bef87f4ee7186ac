"""A run that is asked for again with its key, and that was promoted before: it has a task, and that is the answer."""

from __future__ import annotations

import asyncio
import json

from starlette.responses import Response

from cluster.client import LedgerClient
from cluster.errors import Unavailable
from cluster.task import State, Task

from . import bodies
from .gateway.answers import accepted, failed, json_answer
from .gateway.submitting import digest
from .prefer import Preference
from .problems import Refused, conflict, too_late

LOOK_SECONDS = 1.0  # that the ledger has to say whether there is such a task


async def known_task(ledger: LedgerClient, tenant: str, id: str, body: bytes, *, needed: bool) -> Task | None:
    """The task that this body was promoted to before. Raises Refused (409) where it was another body; and Unavailable
    where the ledger does not say, if that is `needed`: a plain run does not depend on it."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            task = await ledger.task(tenant, id)
    except (Unavailable, TimeoutError) as error:
        if needed:
            raise Unavailable(f"nobody knows whether this run was promoted before: {error}") from error
        return None
    if task is not None and digest(json.loads(task.input)) != digest(bodies.parse(body)):
        raise Refused(conflict("This Idempotency-Key was used with another body."))
    return task


async def answer(ledger: LedgerClient, task: Task, patience: float, prefers: Preference) -> Response:
    """What the task has come to, once it ended or the patience is over. Raises Refused."""
    if not task.ended:
        task = await ledger.task(task.tenant, task.id, patience) or task
    if task.state == State.COMPLETED and task.output is not None:
        return json_answer(task.output, headers=[("Answer", "full")])
    if task.ended:
        return failed(task).response()
    if prefers.respond_async:
        return accepted(task, prefers)
    raise Refused(too_late(f"This run goes on as task {task.id}; ask again, or GET /v1/tasks/{task.id}."))
