"""Keeps as many workers of each kind as are wanted: starts them, adopts them, replaces those that die."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from agents import Resources
from agents.catalog import Entry

from .callees import Callees, callees_of
from .errors import Unavailable
from .holder import REPLICA
from .shapes import name_of

log = logging.getLogger("rubato.pool")

T = TypeVar("T")

RESTART_PAUSE = 1.0  # seconds before a worker that could not start is tried again; doubles up to RESTART_CAP
RESTART_CAP = 30.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of worker: a resource shape, the agents that take it, and those that their runs may call."""

    name: str
    references: tuple[str, ...]
    slots: dict[str, int]
    resources: Resources
    count: int
    callees: Callees = field(default_factory=dict)
    shapes: tuple[Resources | None, ...] = (None,)  # of steps that its workers are for; None: of whole runs


class Death(NamedTuple):
    """How a worker ended: `fault` if its process died while its node lives, which some task may have caused."""

    fault: bool
    detail: str


class StartFailed(Exception):
    """A worker did not come up; the text says why."""


class Fleet(Protocol):
    """What the pool needs of Ray."""

    def alive(self) -> list[tuple[str, str]]:
        """(id, kind) of the workers that are there already."""

    async def start(self, kind: Kind) -> str:
        """A new worker's id, once it takes work. Raises StartFailed."""

    async def watch(self, id: str) -> Death:
        """Returns when the worker's process is gone."""

    async def stop(self, id: str) -> None:
        """End a worker: what it holds goes back to the queue."""


class Losses(Protocol):
    """What the pool tells the ledger."""

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        """Raises Unavailable where it is not on record."""

    async def holders(self) -> list[str]:
        """The workers that hold claims. Raises Unavailable where that is not known now."""


def kinds(entries: Iterable[Entry], workers: int, cpus: float) -> list[Kind]:
    """The kinds that these agents need: one for each resource shape, `workers` of each.

    Where all of them ask for more CPUs than there are, each kind gets its share of the cluster, but at least one.
    """
    shapes: dict[Resources, list[Entry]] = {}
    entries = list(entries)
    callees = callees_of(entry.agent for entry in entries)
    for entry in entries:
        if entry.agent.background is not None:
            shapes.setdefault(entry.agent.background.resources, []).append(entry)
    asked = sum(shape.cpus for shape in shapes) * workers
    fits = workers if asked <= cpus else max(1, math.floor(workers * cpus / asked))
    return [
        Kind(
            name_of(shape),
            tuple(entry.reference for entry in found),
            {entry.name: entry.agent.background.slots for entry in found if entry.agent.background},
            shape,
            fits,
            callees,
        )
        for shape, found in shapes.items()
    ]


class Pool:
    """One keeper for each worker that is wanted; `run()` lasts until it is cancelled."""

    def __init__(self, kinds: Sequence[Kind], fleet: Fleet, ledger: Losses) -> None:
        self._kinds = kinds
        self._fleet = fleet
        self._ledger = ledger
        self._ready: dict[str, str] = {}  # worker id to kind
        self._troubles: dict[str, str] = {}  # kind to why its last worker did not start

    async def run(self) -> None:
        """Adopt what is there, tell the ledger of what is not any more, and keep the rest coming."""
        adopted: dict[str, list[str]] = {}
        for id, name in self._fleet.alive():
            adopted.setdefault(name, []).append(id)
        known = {id for ids in adopted.values() for id in ids}
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._report_missing(known))
            for kind in self._kinds:
                there = adopted.pop(kind.name, [])
                for place in range(max(kind.count, len(there))):
                    group.create_task(self._keep(kind, there[place] if place < len(there) else None))
            for ids in adopted.values():
                for id in ids:
                    group.create_task(self._fleet.stop(id))

    def status(self) -> list[dict[str, object]]:
        """One line for each kind: what is wanted, what is ready, and what went wrong last."""
        return [
            {
                "kind": kind.name,
                "agents": sorted(kind.slots),
                "wanted": kind.count,
                "ready": sum(1 for ready in self._ready.values() if ready == kind.name),
                "workers": sorted(id for id, ready in self._ready.items() if ready == kind.name),
                "trouble": self._troubles.get(kind.name),
            }
            for kind in self._kinds
        ]

    async def _report_missing(self, known: set[str]) -> None:
        """Workers that died while no pool watched: their claims need not wait for their leases."""
        for worker in set(await self._answered(self._ledger.holders)) - known:
            if not worker.startswith(REPLICA):  # those come and go with Serve, and their leases with them
                await self._tell_lost(worker, fault=True)

    async def _keep(self, kind: Kind, id: str | None) -> None:
        """One place in the pool: there is a worker in it, or one is on its way."""
        while True:
            if id is None:
                id = await self._start(kind)
            self._ready[id] = kind.name
            death = await self._fleet.watch(id)
            del self._ready[id]
            log.warning("worker %s of kind %s is gone: %s", id, kind.name, death.detail)
            self._group.create_task(self._tell_lost(id, fault=death.fault))  # its place waits for nobody
            id = None

    async def _tell_lost(self, worker: str, *, fault: bool) -> None:
        """Returns once the ledger has it on record."""
        await self._answered(partial(self._ledger.worker_lost, worker, fault=fault))

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the ledger answers, however long its store is away."""
        while True:
            try:
                return await ask()
            except Unavailable as error:
                log.warning("the ledger is asked again: %s", error)
                await asyncio.sleep(RESTART_PAUSE)

    async def _start(self, kind: Kind) -> str:
        pause = RESTART_PAUSE
        while True:
            try:
                id = await self._fleet.start(kind)
                self._troubles.pop(kind.name, None)
                return id
            except StartFailed as error:
                self._troubles[kind.name] = str(error)
                log.error("a worker of kind %s did not start, next try in %.0f s: %s", kind.name, pause, error)
                await asyncio.sleep(pause)
                pause = min(RESTART_CAP, 2 * pause)
