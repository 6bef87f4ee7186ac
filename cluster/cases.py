"""One kind of worker in a decision: what it needs, what it needed lately, who is there, and what it gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .needs import Demand, demand, remembered
from .nodekinds import room
from .seeking import Found, Search
from .shares import Nodes, Share, Wish
from .situation import Need, Seen, Situation, Worker, WorkerKind

ALL, ON_DEMAND = "all", "on_demand"  # the needs that are remembered


@dataclass(frozen=True, slots=True)
class Case:
    """`spot` and `on_demand` are the workers there that do not drain; `needs` are the largest first."""

    kind: WorkerKind
    nodes: Nodes
    demand: Demand
    spot: tuple[Worker, ...]
    on_demand: tuple[Worker, ...]
    needs: Mapping[str, tuple[Need, ...]]

    @property
    def wish(self) -> Wish:
        """What it would have, within its own bounds. What only a market that it has no nodes in can do, nobody does."""
        kind, asked, nodes = self.kind, self.demand, self.nodes
        on_demand = asked.on_demand if nodes.on_demand else 0
        spot = asked.spot if nodes.spot else 0
        undone = asked.on_demand - on_demand + asked.spot - spot
        total = max(kind.least, min(kind.most, asked.total - undone))
        # A worker that was needed on demand a moment ago is for whatever there is before another is asked for.
        on_demand = max(on_demand, min(self.needs[ON_DEMAND][0].workers, len(self.on_demand)))
        on_demand = min(on_demand, total)
        spot = min(spot, total - on_demand)
        spare = max(0, min(kind.most, self.needs[ALL][0].workers) - total)
        oldest = max((row.oldest for row in kind.backlog if row.queued), default=0.0)
        return Wish(kind.name, kind.shape, nodes, on_demand, spot, total - on_demand - spot, spare, oldest)

    def impatient(self, workers: int) -> int:
        """How many of so many workers are for work that has no time, or no deadline, to wait for spot by."""
        return math.ceil(workers * (1 - self.demand.patience) - 1e-9)


@dataclass(frozen=True, slots=True)
class Split:
    """What each market is to give of a kind's share, and what to do for it. `fallback` of those on demand are there
    because spot does not give them."""

    share: Share
    on_spot: Search
    on_demand: Search
    from_spot: Found
    from_demand: Found
    fallback: int


def case_of(kind: WorkerKind, situation: Situation, seen: Mapping[tuple[str, ...], Seen]) -> Case:
    """The case of one kind in this situation."""
    now, idle = situation.now, situation.rules.idle
    nodes = Nodes.of(kind.shape, situation.nodes)
    workers = [worker for worker in situation.workers if worker.kind == kind.name]
    most = sum(room(kind.shape, node.resources) * node.max_nodes for node in nodes.on_demand)
    asked = demand(kind, workers, seen, min(kind.most, most), now)
    staying = [worker for worker in workers if not worker.draining]
    on_demand = tuple(worker for worker in staying if worker.market == "on_demand")
    needs = {
        part: remembered(
            # After a restart those that are there count as needed: for all that is known they were.
            situation.memory.needs.get((kind.name, part), (Need(len(there), now + idle),)),
            needed,
            idle,
            now,
        )
        for part, needed, there in ((ALL, asked.total, staying), (ON_DEMAND, asked.on_demand, on_demand))
    }
    return Case(kind, nodes, asked, tuple(worker for worker in staying if worker.market == "spot"), on_demand, needs)
