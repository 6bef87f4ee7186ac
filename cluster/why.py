"""Why the pool wants what it wants, in a sentence for whoever looks at its status."""

from __future__ import annotations

from collections.abc import Mapping

from .cases import Case, Split
from .needs import SLACK
from .nodekinds import Market
from .situation import Try, Worker
from .tries import OPEN


def wants(case: Case, split: Split, market: Market, tries: Mapping[str, Try], now: float) -> str:
    """What a kind has to do, what that needs, and why so much of it in this market."""
    place = _spot(case, split, tries, now) if market == "spot" else _on_demand(case, split, tries, now)
    return f"{_work(case)}{_bounds(case, split)}{f'; {place}' if place else ''}"


def ends(worker: Worker, split: Split) -> str:
    """Why a worker is to end."""
    if worker in split.from_spot.give_up or worker in split.from_demand.give_up:
        return f"no node of kind {worker.node!r} came for it"
    if worker.ready_at is None:
        return "it is not needed any more, and had not come yet"
    taken = worker.market == "on_demand" and split.on_spot.units and split.on_spot.ready >= split.on_spot.units
    cause = "spot workers have taken its place" if taken else "it is not needed any more"
    return f"{cause}; it ends when what it runs is over" if worker.busy else f"{cause}, and idle"


def _work(case: Case) -> str:
    rows = [row for row in case.kind.backlog if row.queued + row.running]
    if not rows:
        waiting = sum(row.waiting for row in case.kind.backlog)
        return f"nothing to do, {waiting} wait" if waiting else "nothing to do"
    told = [
        f"{row.queued} queued and {row.running} running of {row.agent}"
        f"{'' if row.service is None else f', {row.service:.3g} s each'}"
        for row in rows
    ]
    return f"{' and '.join(told)}: that needs {case.demand.total}"


def _bounds(case: Case, split: Split) -> str:
    kind, total, share = case.kind, case.demand.total, split.share
    if total < kind.least:
        return f", and {kind.least} always stay"
    if share.needed < min(total, kind.most):
        return f", and there is room for {share.needed}"
    if total > kind.most:
        return f", and at most {kind.most} are allowed"
    return f", and {share.needed + share.spare} were needed lately" if share.spare else ""


def _spot(case: Case, split: Split, tries: Mapping[str, Try], now: float) -> str:
    if not case.nodes.spot:
        return "there are no spot nodes for it"
    if not split.on_spot.units:
        return _settled(case, split)
    known = [tries.get(kind.name, OPEN) for kind in case.nodes.spot]
    if all(tried.closed(now) for tried in known):
        return f"no spot node can be had, the next try is in {min(tried.closed_until for tried in known) - now:.0f} s"
    lacking = split.on_spot.units - split.on_spot.ready
    if lacking > 0 and all(tried.failures for tried in known):
        return "spot is tried again with one worker"
    if lacking > 0:
        return f"{lacking} of {split.on_spot.units} wait for a spot node"
    return "spot comes first" if case.nodes.on_demand else ""


def _on_demand(case: Case, split: Split, tries: Mapping[str, Try], now: float) -> str:
    pressure = f"work left / time left is {case.demand.pressure:.2f}"
    if not case.nodes.on_demand:
        return "there are no on-demand nodes for it"
    if split.fallback:
        return f"{split.fallback} in place of spot, which did not come"
    if case.demand.pressure >= SLACK and case.nodes.spot and split.share.on_demand:
        return f"no time to wait for spot: {pressure}"
    if case.demand.patience and split.on_spot.ready < split.on_spot.units:
        return f"there is time to wait for spot: {pressure}"
    closed = [tries.get(kind.name, OPEN) for kind in case.nodes.on_demand]
    if split.on_demand.units > split.on_demand.ready and all(tried.closed(now) for tried in closed):
        return "no on-demand node can be had, and it goes on being asked for"
    if not split.on_demand.units and split.on_spot.units:
        return "spot gives all of it"
    return _settled(case, split)


def _settled(case: Case, split: Split) -> str:
    if not split.share.settled or not case.nodes.spot:
        return ""
    return "nodes that are there anyway have room" if case.nodes.spot_first else "spot is not cheaper"
