"""The sign that Serve is about to end this replica.

Serve gives none: `__del__` comes when the drain is over. So it is read from Serve's own state, in this one place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

LOOK_SECONDS = 0.2

log = logging.getLogger(__name__)


def sign() -> Callable[[], bool] | None:
    """What says, from then on, whether the drain of the replica in this process has begun; None where this is none, or
    Serve keeps it elsewhere (tests/faults/test_promotions.py notices)."""
    from ray._private.worker import global_worker

    replica: Any = getattr(global_worker.actors.get(global_worker.actor_id), "_replica_impl", None)
    if not isinstance(getattr(replica, "_shutting_down", None), bool):
        return None
    return lambda: bool(replica._shutting_down)


async def watch(leave: Callable[[str], None]) -> None:
    """Say `leave("drain")` once the drain begins."""
    begun = sign()
    if begun is None:
        log.warning("nobody can tell when Serve ends this replica: its runs stay until their deadlines")
        return
    while not begun():
        await asyncio.sleep(LOOK_SECONDS)
    leave("drain")
