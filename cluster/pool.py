"""Has as many workers of each kind as there is work for: asks for them, adopts them, replaces those that die, and ends
those that are not needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from agents.ids import new_id

from .claims import AWAY
from .client import Demand
from .earlier import Earlier
from .errors import Superseded, Unavailable
from .holder import REPLICA
from .kinds import Kind, for_step
from .lanes import Lane
from .nodekinds import NodeKind
from .older import Serving
from .planning import plan
from .roster import Member, Roster, situation_of
from .situation import Memory, Plan, Rules, Wanted

log = logging.getLogger("rubato.pool")

T = TypeVar("T")

LOOK = 1.0  # seconds between two decisions
RESTART_PAUSE = 1.0  # seconds before a worker that could not start is tried again; doubles up to RESTART_CAP
RESTART_CAP = 30.0


class Death(NamedTuple):
    """How a worker ended: `fault` if its process died while its node lives, which some task may have caused."""

    fault: bool
    detail: str


class StartFailed(Exception):
    """A worker did not come up; the text says why."""


class Found(NamedTuple):
    """A worker that is there already, or on its way: of which kind, and asked for on which kind of node."""

    id: str
    kind: str
    node_kind: str


@dataclass(frozen=True, slots=True)
class Ground:
    """The nodes: their kinds, the ids of those that are about to go, whose workers know it, and which of the workers
    that do not take work yet have a place on one."""

    kinds: tuple[NodeKind, ...]
    leaving: frozenset[str] = frozenset()
    placed: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)  # of nodes, by their kind


class Fleet(Protocol):
    """What the pool needs of Ray."""

    async def ground(self) -> Ground:
        """What there is to put workers on."""

    def alive(self) -> list[Found]:
        """The workers that there are, or that were asked for."""

    async def start(self, id: str, kind: Kind, node: NodeKind) -> str:
        """Ask for a worker on such a node, and return the id of its node once it takes work. Raises StartFailed;
        whoever cancels this does not want it any more."""

    async def join(self, found: Found) -> str:
        """The id of the node of a worker that was asked for before, once it takes work. Raises StartFailed."""

    async def watch(self, id: str) -> Death:
        """Returns when the worker's process is gone."""

    async def serve(self, id: str, *, old: bool) -> Serving:
        """Tell a worker whether there is a newer version than its own, and so what it takes; what it answers, nothing
        where it does not."""

    async def drain(self, id: str, within: float | None) -> None:
        """Have a worker take no more and end when what it holds is over, at the latest after so many seconds: what is
        not over then goes back to the queue."""


class Losses(Protocol):
    """What the pool asks of the ledger, and tells it."""

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        """Raises Unavailable where it is not on record."""

    async def holders(self) -> dict[str, int]:
        """The workers that hold claims, and how many. Raises Unavailable where that is not known now."""

    async def demand(self) -> tuple[Demand, ...]:
        """What there is to do. Raises Unavailable likewise."""

    async def release(self, agent: str, lane: str, reason: str) -> int:
        """The queued tasks of a lane that is of a version go on with any; how many. Raises Unavailable likewise."""


class Pool:
    """One task follows each worker to its end, and another decides; `run()` lasts until it is cancelled."""

    def __init__(self, kinds: Sequence[Kind], fleet: Fleet, ledger: Losses, rules: Rules | None = None) -> None:
        self._kinds = {kind.id: kind for kind in kinds}
        self._fleet = fleet
        self._ledger = ledger
        self._rules = rules or Rules()
        self._roster = Roster()
        self._demands: tuple[Demand, ...] = ()
        self._ground = Ground(())
        self._latest = Plan((), (), Memory())
        self._earlier = Earlier(self._roster, fleet, ledger, self._rules, self._later)
        self._pauses: dict[str, tuple[float, float]] = {}  # by kind: when one may be tried again, and the next pause
        self._troubles: dict[str, str] = {}  # by kind: why its last worker did not start
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Adopt what is there, tell the ledger of what is not any more, and have what is wanted from then on."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            there = self._fleet.alive()
            for found in there:
                self._adopt(found)
            group.create_task(self._report_missing({found.id for found in there}))
            while True:
                self._woken.clear()
                await self._decide()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await self._woken.wait()

    def status(self) -> list[dict[str, object]]:
        """One line for each kind: what is wanted and why, what is there, and what went wrong last; and one for each
        worker of an earlier version that stays."""
        return [*map(self._line, self._kinds.values()), *self._earlier.lines()]

    def nodes(self) -> list[dict[str, object]]:
        """One line for each kind of node: how many there are and may be, and what one costs an hour in USD (None:
        nobody said)."""
        return [
            {
                "kind": kind.name,
                "market": kind.market,
                "nodes": self._ground.counts.get(kind.name, 0),
                "most": kind.max_nodes,
                "price": kind.price,
            }
            for kind in self._ground.kinds
        ]

    def _line(self, kind: Kind) -> dict[str, object]:
        members = self._roster.of(kind.id)
        going = [member for member in members if member.draining or member.leaving]
        ready = [member for member in members if member.ready_at is not None and member not in going]
        rows = [row for row in self._latest.wanted if row.kind == kind.id]
        return {
            "kind": kind.name,
            "agents": sorted(kind.slots),
            "wanted": self._latest.workers(kind.id) if rows else kind.least,
            "ready": len(ready),
            "starting": sum(1 for member in members if member.ready_at is None),
            "draining": len(going),
            "busy": sum(1 for member in ready if member.busy),
            "workers": sorted(member.id for member in ready),
            "trouble": self._troubles.get(kind.id),
            "why": [
                {"market": row.market, "node": row.node, "workers": row.workers, "reason": row.reason} for row in rows
            ],
        }

    # the decision

    async def _decide(self) -> None:
        """Look at all there is, and do what follows; while the ledger does not answer nobody is ended, and where it has
        lost its store nobody is started."""
        self._ground = ground = await self._fleet.ground()
        self._roster.look(ground.kinds, ground.leaving, ground.placed, time.time())
        try:
            known = await self._ask()
        except Superseded as error:  # its workers end, and others do their work
            log.warning("nobody is started: %s", error)
            return
        self._know_steps()
        apart = self._earlier.look(self._kinds, self._demands, time.time(), known=known)
        situation = situation_of(
            *(self._kinds.values(), self._roster, self._demands, ground.kinds),
            rules=self._rules,
            memory=self._latest.memory,
            now=time.time(),
            apart=apart,
        )
        self._latest = plan(situation)
        for ending in self._latest.endings if known else ():
            self._end(self._roster.members[ending.worker], ending.reason)
        self._start(self._latest.wanted, {kind.name: kind for kind in ground.kinds})

    async def _ask(self) -> bool:
        """Have the ledger say what there is to do, and who does it; whether it does. Raises Superseded."""
        try:
            self._demands, held = await asyncio.gather(self._ledger.demand(), self._ledger.holders())
        except Superseded:
            raise
        except Unavailable as error:
            log.warning("the ledger does not say what there is to do: %s", error)
            return False
        self._roster.see(held, time.time())
        return True

    def _know_steps(self) -> None:
        """A step that asks for a shape has a kind of its own, from when the first asks on."""
        homes = {agent: kind for kind in self._kinds.values() if None in kind.shapes for agent in kind.slots}
        for demand in self._demands:
            shape = Lane.parse(demand.lane).shape
            if shape is not None and demand.agent in homes:
                kind = for_step(homes[demand.agent], demand.agent, shape)
                self._kinds.setdefault(kind.id, kind)

    def _start(self, wanted: Iterable[Wanted], nodes: Mapping[str, NodeKind]) -> None:
        for row in wanted:
            if row.start and self._may_try(row.kind):
                log.info("%d more of kind %s on %s: %s", row.start, row.kind, row.node, row.reason)
                for _ in range(row.start):
                    self._ask_for(self._kinds[row.kind], nodes[row.node])

    def _end(self, member: Member, why: str) -> None:
        """A worker that is not needed: what it runs is not cut short."""
        log.info("worker %s of kind %s ends: %s", member.id, member.kind, why)
        if member.ready_at is None and member.life is not None:
            if not member.may_hold(time.time()):
                member.life.cancel()
        else:
            member.draining = True
            self._later(self._fleet.drain(member.id, None))

    # a worker's life

    def _adopt(self, found: Found) -> None:
        member = Member(found.id, found.kind, found.node_kind, "on_demand", time.time(), adopted=True)
        self._follow(member, self._fleet.join(found))

    def _ask_for(self, kind: Kind, node: NodeKind) -> None:
        member = Member(new_id(), kind.id, node.name, node.market, time.time())
        self._follow(member, self._fleet.start(member.id, kind, node))

    def _follow(self, member: Member, comes: Awaitable[str]) -> None:
        self._roster.members[member.id] = member
        member.life = self._group.create_task(self._life(member, comes))

    async def _life(self, member: Member, comes: Awaitable[str]) -> None:
        """From being asked for to its end: its place is free then, and the ledger hears of it."""
        try:
            member.node = await comes
            self._roster.began(member, time.time())
            self._pauses.pop(member.kind, None)
            self._troubles.pop(member.kind, None)
            self._woken.set()
            death = await self._fleet.watch(member.id)
            log.warning("worker %s of kind %s is gone: %s", member.id, member.kind, death.detail)
            self._later(self._tell_lost(member.id, fault=death.fault))  # its place waits for nobody
        except StartFailed as error:
            if member.adopted:
                log.warning("worker %s of kind %s, which was there, is gone: %s", member.id, member.kind, error)
                self._later(self._tell_lost(member.id, fault=False))
            else:
                self._pause(member.kind, str(error))
        finally:
            del self._roster.members[member.id]
            self._woken.set()

    def _may_try(self, kind: str) -> bool:
        return time.monotonic() >= self._pauses.get(kind, (0.0, 0.0))[0]

    def _pause(self, kind: str, why: str) -> None:
        """A worker of the kind did not come up: the next waits, each time for longer."""
        _, pause = self._pauses.get(kind, (0.0, RESTART_PAUSE))
        self._pauses[kind] = time.monotonic() + pause, min(RESTART_CAP, 2 * pause)
        self._troubles[kind] = why
        log.error("a worker of kind %s did not start, next try in %.0f s: %s", kind, pause, why)

    # what the ledger is told

    async def _report_missing(self, known: Iterable[str]) -> None:
        """Workers that died while no pool watched: their claims need not wait for their leases."""
        for worker in (await self._answered(self._ledger.holders)).keys() - set(known):
            if not worker.startswith((REPLICA, AWAY)):  # those come and go with Serve, or another cluster
                await self._tell_lost(worker, fault=True)

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

    def _later(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            await work

        self._group.create_task(done())
