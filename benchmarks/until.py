"""Waiting that ends: for anything, and for the results of tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from .connection import Connection

POLL = 0.05
PATIENCE = 300.0


def until(holds: Callable[[], bool], what: str, *, seconds: float = PATIENCE, poll: float = POLL) -> None:
    """Returns as soon as it holds. Raises RuntimeError that says what did not come true in so many seconds."""
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        time.sleep(poll)


def until_completed(connection: Connection, **filters: str) -> None:
    """Returns once no task that these filters let pass is queued or running. Raises RuntimeError where one of them has
    failed or was canceled."""
    for state in ("queued", "running"):
        until(partial(connection.none, state=state, **filters), f"no task of {filters} is {state}")
    for state in ("failed", "canceled"):
        if not connection.none(state=state, **filters):
            raise RuntimeError(f"a task of {filters} has {state}")
