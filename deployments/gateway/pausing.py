"""Pause and resume of an agent's tasks: answered alike by the gateway and by the agent's own application."""

from __future__ import annotations

import json
import math

from starlette.requests import Request
from starlette.responses import Response

from agents.catalog import Entry
from cluster.client import LedgerClient

from .. import bodies
from ..documents import end_of_pause
from .answers import json_answer
from .forms import EMPTY, Pause, fill, no_fields
from .submitting import check_background


async def pause(ledger: LedgerClient, entry: Entry, request: Request) -> Response:
    """From the answer on no task of the agent starts; those that run go on, and so does real time."""
    check_background(entry)
    body = await bodies.read(request, EMPTY)
    until = fill(Pause, bodies.parse(body) if body.strip() else {}).until
    return await _paused(ledger, entry, math.inf if until is None else until)


async def resume(ledger: LedgerClient, entry: Entry, request: Request) -> Response:
    """Its tasks start again; nothing changes where it was not paused."""
    check_background(entry)
    await no_fields(request, "A resume")
    return await _paused(ledger, entry, None)


async def _paused(ledger: LedgerClient, entry: Entry, until: float | None) -> Response:
    await ledger.pause(entry.name, until)
    return json_answer(f'{{"agent":{json.dumps(entry.name)},"paused_until":{end_of_pause(until)}}}')
