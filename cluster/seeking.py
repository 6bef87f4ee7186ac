"""Where to ask for the workers that one market lacks: from one kind of node to the next, each for its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents import Resources

from .nodekinds import NodeKind
from .rooms import Room
from .situation import Try, Worker
from .tries import OPEN, may_start


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: so many workers in this market, `insist` of which are waited for however long it takes.

    A node is waited for `turn` seconds before the next kind is asked as well; the first that comes is taken, and what
    is still on its way then is given up. After the whole patience its kind is closed (tries.observed).
    """

    units: int
    insist: int
    workers: Sequence[Worker]  # of the worker kind, in this market, that do not drain
    nodes: Sequence[NodeKind]  # the best first
    turn: float
    patience: float
    now: float

    @property
    def ready(self) -> int:
        """Workers that take work."""
        return sum(1 for worker in self.workers if worker.ready_at is not None)

    @property
    def coming(self) -> list[Worker]:
        """Workers that were asked for, the longest ago first."""
        return sorted((worker for worker in self.workers if worker.ready_at is None), key=lambda it: it.asked_at)


@dataclass(slots=True)
class Found:
    """What to ask for, by kind of node; whom to give up; how many units nobody was asked for, and how many were waited
    for in vain."""

    start: Counter[str] = field(default_factory=Counter)
    give_up: list[Worker] = field(default_factory=list)
    unplaced: int = 0
    overdue: int = 0


def seek(
    search: Search, shape: Resources, tries: Mapping[str, Try], room_on: Mapping[str, Room], everyone: Sequence[Worker]
) -> Found:
    """What to do for what the market lacks. Takes the room for what is to start."""
    found, now = Found(), search.now
    lacking = max(0, search.units - search.ready)
    closed = {kind.name for kind in search.nodes if tries.get(kind.name, OPEN).closed(now)}
    hopeless = [
        worker
        for worker in search.coming
        if worker.asked_at < tries.get(worker.node, OPEN).closed_until
        or (worker.node not in room_on and now - worker.asked_at >= search.patience)
    ]
    without = {worker.id for worker in hopeless}
    coming = [worker for worker in search.coming if worker.id not in without]
    late = [worker for worker in coming if now - worker.asked_at >= search.turn]
    slow = {worker.node for worker in late}

    def ask(kinds: Sequence[NodeKind], most: int) -> None:
        for kind in kinds:
            allowed = may_start(kind, tries, everyone, now)
            limit = most if allowed is None else min(most, allowed - found.start[kind.name])
            while limit > 0 and room_on[kind.name].take(shape):
                found.start[kind.name] += 1
                limit -= 1
                most -= 1

    ordered = _paid_first(search.nodes, shape, room_on)
    ask([kind for kind in ordered if kind.name not in slow | closed], lacking - (len(coming) - len(late)))
    ask([kind for kind in ordered if kind.name in slow], lacking - len(coming) - found.start.total())
    found.unplaced = max(0, lacking - len(coming) - found.start.total())
    kept = _insist(search, hopeless, len(coming), closed, tries, room_on, shape, found)
    found.give_up = [worker for worker in hopeless if worker.id not in kept]
    found.overdue = sum(1 for worker in found.give_up if now - worker.asked_at >= search.patience)
    return found


def _insist(
    search: Search,
    hopeless: Sequence[Worker],
    coming: int,
    closed: set[str],
    tries: Mapping[str, Try],
    room_on: Mapping[str, Room],
    shape: Resources,
    found: Found,
) -> set[str]:
    """Who goes on being waited for although every kind has failed, as some nodes take longer than any patience. Where
    nobody does, one worker is asked for, on the kind that will be tried again first; when it comes, others follow."""
    lacking = search.insist - search.ready - coming - found.start.total()
    if lacking <= 0:
        return set()
    kept = [worker.id for worker in hopeless if worker.node in room_on][:lacking]
    if not kept and closed:
        best = min(closed, key=lambda name: tries[name].closed_until)
        if room_on[best].take(shape):
            found.start[best] += 1
    return set(kept)


def _paid_first(kinds: Sequence[NodeKind], shape: Resources, room_on: Mapping[str, Room]) -> list[NodeKind]:
    return sorted(kinds, key=lambda kind: not room_on[kind.name].paid_for(shape))
