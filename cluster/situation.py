"""What the pool knows when it decides how many workers to want, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from agents import Resources
from agents.resources import Market

from . import nodekinds
from .nodekinds import NodeKind


class Deadline(NamedTuple):
    """So many tasks have to end by then."""

    at: float
    tasks: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The tasks of one agent that ask for one market, as the ledger counts them.

    `queued` are due, and nothing but room keeps them from running; the `waiting` hold no worker. `service` is the mean
    of a run in seconds, None as long as none has ended; `oldest` the seconds that the oldest of the queued could have
    run for. The `deadlines` are those of the queued; those that run are taken to have the first of them.
    """

    agent: str
    slots: int  # of this agent on one worker
    market: Market = "any"
    queued: int = 0
    running: int = 0
    waiting: int = 0
    service: float | None = None
    oldest: float = 0.0
    deadlines: tuple[Deadline, ...] = ()
    lane: str = ""  # tells backlogs of one agent and market apart

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is remembered by, beside its kind of worker."""
        return self.agent, self.market, self.lane


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """One kind of worker: its shape, what there is to do for it, and between how many of them there may be."""

    name: str
    shape: Resources
    backlog: tuple[Backlog, ...] = ()
    least: int = 0
    most: int = 1024
    start: float = 5.0  # seconds from asking for one until it takes work, of late


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker that is there or was asked for; `ready_at` is None until it takes work."""

    id: str
    kind: str
    market: nodekinds.Market
    node: str  # the kind of node that it is on, or was asked for on
    asked_at: float
    ready_at: float | None = None
    busy: int = 0  # tasks that it runs
    idle_since: float | None = None
    draining: bool = False  # takes no more: it was told so, or its node is about to go

    @property
    def idle_from(self) -> float:
        """Since when it has nothing to do; never, where it has."""
        if self.busy or self.ready_at is None:
            return inf
        return self.ready_at if self.idle_since is None else self.idle_since


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all kinds: how many workers there may be, how many seconds one that is not needed stays, for how
    many a node is waited for before something else is tried, and for how many workers of an earlier version stay for
    tasks that are to finish with it."""

    most: int = 1024
    idle: float = 60.0
    patience: float = 60.0
    old_versions: float = 3600.0


class Try(NamedTuple):
    """How trying to get nodes of a kind has gone: failures in a row, and from when until when it is not tried again."""

    failures: int = 0
    closed_at: float = -inf
    closed_until: float = -inf

    def closed(self, now: float) -> bool:
        """Whether it is too early to try again."""
        return now < self.closed_until


class Seen(NamedTuple):
    """How a backlog kept its slots: how many on average of late, and since when some without any run having ended."""

    busy: float
    since: float | None


class Need(NamedTuple):
    """So many workers were needed; that is remembered until then."""

    workers: int
    until: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision leaves for the next one; a pool that has lost it begins with none."""

    at: float | None = None
    tries: Mapping[str, Try] = field(default_factory=dict)  # by kind of node
    seen: Mapping[tuple[str, ...], Seen] = field(default_factory=dict)  # by worker kind and the key of a backlog
    needs: Mapping[tuple[str, str], tuple[Need, ...]] = field(default_factory=dict)  # each larger than the next


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision rests on. `nodes` are the kinds that are known, nodes that are simply there among them
    (nodekinds.known); `refused` says when a node of a kind was last refused."""

    now: float
    kinds: tuple[WorkerKind, ...]
    nodes: tuple[NodeKind, ...]
    workers: tuple[Worker, ...] = ()
    refused: Mapping[str, float] = field(default_factory=dict)
    rules: Rules = Rules()
    memory: Memory = Memory()


class Wanted(NamedTuple):
    """So many workers of a kind are wanted in a market, on nodes of that kind; `start` of them are not there yet."""

    kind: str
    market: nodekinds.Market
    node: str  # '' where none is wanted
    workers: int
    start: int
    reason: str


class Ending(NamedTuple):
    """A worker that is to end: at once where it is idle or not there yet, else when what it runs is over."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted of every kind in every market that it may use, whom to end, in order, and what to remember."""

    wanted: tuple[Wanted, ...]
    endings: tuple[Ending, ...]
    memory: Memory

    def workers(self, kind: str, market: nodekinds.Market | None = None) -> int:
        """How many are wanted, in one market or in all."""
        return sum(row.workers for row in self.wanted if row.kind == kind and market in (None, row.market))
