"""Which kinds of nodes can be had: one that was refused or did not come is left alone for a while, then tried again.

Ray's autoscaler goes on asking for what it was refused, so that the pool itself has to ask for something else. A kind
that failed is tried again with a single worker; when that comes, all may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf

from .nodekinds import NodeKind
from .situation import Situation, Try, Worker

DOUBLINGS = 4  # of the patience: the longest time that a kind is left alone is 16 times as long

OPEN = Try()


def observed(situation: Situation) -> dict[str, Try]:
    """How it stands with each kind of node now, by what came, what was refused and what is overdue."""
    there: dict[str, list[Worker]] = {}
    for worker in situation.workers:
        if not worker.draining:
            there.setdefault(worker.node, []).append(worker)
    late = _late(situation)
    return {
        kind.name: _after(
            situation.memory.tries.get(kind.name, OPEN),
            there.get(kind.name, ()),
            late.get(kind.name, -inf),
            situation.refused.get(kind.name, -inf),
            situation,
        )
        for kind in situation.nodes
        if not fixed(kind)
    }


def fixed(kind: NodeKind) -> bool:
    """Whether all its nodes are there: whoever waits for one waits for room, and no other node will come."""
    return kind.min_nodes == kind.max_nodes


def may_start(kind: NodeKind, tries: Mapping[str, Try], workers: Iterable[Worker], now: float) -> int | None:
    """How many workers may be asked for there now; None is any number."""
    tried = tries.get(kind.name, OPEN)
    if not tried.failures:
        return None
    if tried.closed(now):
        return 0
    asked = (worker for worker in workers if worker.node == kind.name and worker.ready_at is None)
    return 0 if any(worker.asked_at >= tried.closed_until for worker in asked) else 1


def _late(situation: Situation) -> dict[str, float]:
    """By kind of node, when the last was asked for of those that have been waited for too long: for the whole patience,
    or until another came that was asked for elsewhere in the market when its turn was over."""
    now, patience = situation.now, situation.rules.patience
    kinds = Counter(kind.market for kind in situation.nodes)
    last: dict[tuple[str, str, str], float] = {}  # when the last that came was asked for, by where
    for worker in situation.workers:
        if worker.ready_at is not None:
            place = worker.kind, worker.market, worker.node
            last[place] = max(worker.asked_at, last.get(place, -inf))
    late: dict[str, float] = {}
    for worker in situation.workers:
        if worker.ready_at is None:
            turn = patience / max(2, kinds[worker.market])
            elsewhere = (
                asked_at
                for (kind, market, node), asked_at in last.items()
                if (kind, market) == (worker.kind, worker.market) and node != worker.node
            )
            overtaken = max(elsewhere, default=-inf) - worker.asked_at >= turn
            if overtaken or now - worker.asked_at >= patience:
                late[worker.node] = max(worker.asked_at, late.get(worker.node, -inf))
    return late


def _after(tried: Try, workers: Sequence[Worker], late: float, refused_at: float, situation: Situation) -> Try:
    """`late`: when the last was asked for that is overdue."""
    now, patience = situation.now, situation.rules.patience
    came = max((worker.ready_at for worker in workers if worker.ready_at is not None), default=-inf)
    if came > tried.closed_at:
        tried = OPEN
    refused = max(tried.closed_until, came, now - patience) < refused_at
    overdue = late > -inf and late >= tried.closed_until
    if tried.closed(now) or not (refused or overdue):
        return tried
    pause = patience * 2 ** min(tried.failures, DOUBLINGS)
    return Try(tried.failures + 1, now, now + pause)
