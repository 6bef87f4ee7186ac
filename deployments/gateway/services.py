"""What the gateway works with, and for whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from starlette.requests import Request

from agents.artifacts import ArtifactStore
from agents.catalog import Catalog
from cluster.client import LedgerClient
from cluster.tasklog import LogLine

from ..access import caller_of
from ..bodies import Limits
from .departure import Departure

Logs = Callable[[str, str], Awaitable[Iterable[LogLine]]]  # of (tenant, task id), in the order of time


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use; `heartbeat` is the silence, in seconds, after which a stream sends a comment, and
    `departure` the end of this process."""

    catalog: Catalog
    ledger: LedgerClient
    artifacts: Callable[[str], ArtifactStore]
    logs: Logs
    limits: Limits
    heartbeat: float
    departure: Departure


def tenant_of(request: Request) -> str:
    """Whose request this is."""
    return caller_of(request.scope).tenant
