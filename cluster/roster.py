"""The workers that there are or were asked for, as the pool knows them, and the situation that they make."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from agents.resources import Market

from . import nodekinds, situation
from .client import Demand
from .kinds import Kind
from .lanes import Lane, of_version
from .nodekinds import NodeKind
from .older import Old, Serving, together
from .situation import Backlog, Deadline, Memory, Rules, Situation, WorkerKind

ADOPT_SECONDS = 5.0  # in which it shows whether a worker that was there has found a place
STARTS = 0.3  # how much the newest counts in the seconds that a worker takes to start


@dataclass(slots=True, eq=False)
class Member:
    """One worker: of which kind, asked for on which kind of node, and how it stands with it."""

    id: str
    kind: str  # the id of its Kind
    node_kind: str
    market: nodekinds.Market
    asked_at: float
    placed_at: float | None = None  # None as long as it waits for a node
    ready_at: float | None = None
    node: str = ""  # the id of the node that it is on, '' as long as nobody knows
    busy: int = 0
    idle_since: float | None = None
    adopted: bool = False  # by a pool that did not ask for it
    draining: bool = False  # it was told to take no more
    leaving: bool = False  # its node is about to go, and it knows
    life: asyncio.Task[None] | None = None  # from being asked for to its end
    old: bool | None = None  # whether it was told that there is a newer version; None: it was told nothing yet
    serving: Serving | None = None  # what it answered ...
    told_at: float = 0.0  # ... and when

    def holds(self, count: int, now: float) -> None:
        """It has so many tasks now."""
        self.busy = count
        if count:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now

    @property
    def takes(self) -> bool:
        """Whether it takes work now."""
        return self.ready_at is not None and not (self.draining or self.leaving)

    def may_hold(self, now: float) -> bool:
        """Whether it was there before this pool, has not answered yet, and may have tasks."""
        if not self.adopted or self.ready_at is not None:
            return False
        return self.placed_at is not None or now - self.asked_at < ADOPT_SECONDS

    def stay(self, now: float) -> Old:
        """As one of an earlier version, whose last answer is of some time ago."""
        serving = self.serving or Serving()
        old_for = serving.old_for + max(0.0, now - self.told_at)
        return Old(self.id, self.kind, serving._replace(old_for=old_for), self.busy)

    @property
    def seen(self) -> situation.Worker:
        """As a decision sees it: one that has found a node will take work, however long its agents take to set up; and
        what it holds whose node is about to go needs another worker soon."""
        return situation.Worker(
            self.id,
            self.kind,
            self.market,
            self.node_kind,
            self.asked_at,
            self.placed_at,
            0 if self.leaving else self.busy,
            self.idle_since,
            self.draining or self.leaving,
        )


@dataclass(slots=True)
class Roster:
    """All members by id, and how long workers of each kind took to start of late."""

    members: dict[str, Member] = field(default_factory=dict)
    starts: dict[str, float] = field(default_factory=dict)

    def of(self, kind: str) -> list[Member]:
        return [member for member in self.members.values() if member.kind == kind]

    def look(self, kinds: Iterable[NodeKind], leaving: Container[str], placed: Container[str], now: float) -> None:
        """Which markets they are in (an adopted one only knows for which kind of node it was asked), whose node is
        about to go, and who has found a place."""
        markets = {kind.name: kind.market for kind in kinds}
        for member in self.members.values():
            member.market = markets.get(member.node_kind, member.market)
            member.leaving = member.leaving or member.node in leaving
            if member.placed_at is None and member.id in placed:
                member.placed_at = now

    def began(self, member: Member, now: float) -> None:
        """It takes work from now on."""
        member.ready_at = now
        member.placed_at = member.placed_at or now
        if member.adopted:
            return
        took, before = now - member.asked_at, self.starts.get(member.kind)
        self.starts[member.kind] = took if before is None else before + (took - before) * STARTS

    def see(self, held: Mapping[str, int], now: float) -> None:
        """What each of them holds, as the ledger says."""
        for member in self.members.values():
            if member.ready_at is not None:
                member.holds(held.get(member.id, 0), now)


def situation_of(
    kinds: Iterable[Kind],
    roster: Roster,
    demands: Iterable[Demand],
    nodes: tuple[NodeKind, ...],
    *,
    rules: Rules,
    memory: Memory,
    now: float,
    apart: Collection[str] = (),
) -> Situation:
    """What a decision rests on. The workers `apart` are none of its business."""
    of_agents: dict[str, list[tuple[Lane, Demand]]] = {}
    for each in demands:
        of_agents.setdefault(each.agent, []).append((Lane.parse(each.lane), each))
    found = tuple(
        WorkerKind(
            kind.id,
            kind.resources,
            tuple(
                _backlog(lane, each, slots)
                for agent, slots in kind.slots.items()
                for lane, each in _of_version(of_agents.get(agent, ()), kind.versions.get(agent, ""))
                if lane.shape in kind.shapes
            ),
            kind.least,
            kind.most,
            **({"start": roster.starts[kind.id]} if kind.id in roster.starts else {}),
        )
        for kind in kinds
    )
    workers = tuple(member.seen for member in roster.members.values() if member.id not in apart)
    return Situation(now, found, nodes, workers, rules=rules, memory=memory)


def _of_version(lanes: Iterable[tuple[Lane, Demand]], version: str) -> list[tuple[Lane, Demand]]:
    """What workers of that version may take of these lanes: what it began and what none has begun, as one."""
    found: dict[str, list[Demand]] = {}
    for lane, each in lanes:
        if lane.version in ("", version):
            found.setdefault(of_version(each.lane), []).append(each)
    return [(Lane.parse(lane), together(several)._replace(lane=lane)) for lane, several in found.items()]


def _backlog(lane: Lane, demand: Demand, slots: int) -> Backlog:
    return Backlog(
        demand.agent,
        slots,
        cast(Market, lane.market),
        demand.queued,
        demand.running,
        demand.waiting,
        demand.service,
        oldest=demand.oldest or 0.0,
        deadlines=tuple(Deadline(at, count) for at, count in demand.deadlines),
        lane=demand.lane,
    )
