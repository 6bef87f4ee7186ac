"""The sign that Serve is about to end this replica.

Serve gives none: `__del__` comes when the drain is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from . import servestate

LOOK_SECONDS = 0.2

log = logging.getLogger(__name__)


async def watch(leave: Callable[[str], None]) -> None:
    """Say `leave("drain")` once the drain begins."""
    begun = servestate.draining()
    if begun is None:
        log.warning("nobody can tell when Serve ends this replica: its runs stay until their deadlines")
        return
    while not begun():
        await asyncio.sleep(LOOK_SECONDS)
    leave("drain")
