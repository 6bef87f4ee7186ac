"""Answers whose JSON is already text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from agents.ids import is_id
from cluster.client import Why
from cluster.errors import Unavailable
from cluster.task import State, Task

from ..documents import task_json
from ..prefer import Preference, applied
from ..problems import Problem, Refused, agent_failed, conflict, not_found, problem_of

JSON_LINES = "application/jsonl"

Headers = Iterable[tuple[str, str]]
Found = TypeVar("Found")


def json_answer(text: str, status: int = 200, headers: Headers = ()) -> Response:
    return Response(text.encode(), status, dict(headers), "application/json")


def task_answer(task: Task, status: int = 200, headers: Headers = (), why: Why | None = None) -> Response:
    return json_answer(task_json(task, why), status, headers)


def accepted(task: Task, prefers: Preference) -> Response:
    """202: the task as it stands, and where to ask for it."""
    honoured = applied(respond_async=prefers.respond_async, wait=prefers.wait)
    return task_answer(task, 202, [("Location", f"/v1/tasks/{task.id}"), *honoured])


def failed(task: Task) -> Problem:
    """What to say of a task that ended without an output."""
    if task.state == State.CANCELED:
        return conflict(f"Task {task.id} was canceled before it ended.", "/problems/canceled")
    error = json.loads(task.error or "{}")
    detail = ": ".join(error[part] for part in ("title", "detail") if error.get(part))
    return agent_failed(detail or "The task says no reason.")


def matched(number: int) -> Response:
    """How many tasks it was done to."""
    return json_answer(json.dumps({"matched": number}))


def task_id(request: Request) -> str:
    """The id in the path. Raises Refused (404) where it cannot be one."""
    id: str = request.path_params["id"]
    return known(id if is_id(id) else None, id)


def known(found: Found | None, id: str) -> Found:
    """What the ledger found. Raises Refused (404) for nothing."""
    if found is None:
        raise Refused(not_found("task", f"There is no task {id[:80]!r}; GET /v1/tasks lists those there are."))
    return found


@contextmanager
def certain() -> Iterator[None]:
    """Around what asks the ledger to create something. Raises Refused where it does not confirm that it has."""
    try:
        yield
    except Unavailable as error:
        raise Refused(uncertain(error)) from error


def uncertain(error: Unavailable) -> Problem:
    """What to do where nobody knows whether the ledger has accepted something."""
    detail = (
        "The ledger did not confirm it: it may have been accepted or not. Sent again with the Idempotency-Key it had, "
        "it is accepted once; without one, look at GET /v1/tasks first."
    )
    return replace(problem_of(error), detail=detail)
