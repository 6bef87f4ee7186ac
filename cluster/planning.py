"""How many workers of which kind to want, in which market and on which nodes, and why: the pool's one decision.

Everything follows from one record of what there is (situation.Situation), and the same record always gives the same
plan. What a decision leaves for the next one goes with it as its memory.

Work that may run anywhere goes to spot first. Without a deadline it waits for a spot node as long as the rules say,
then runs on demand. With one it waits while work left / time left < 0.9; from there on as many workers as uniform
progress takes run on demand, less those that spot gives: the policy of *Can't Be Late: Optimizing Spot Instance
Savings under Deadlines* (Wu et al., NSDI '24), for many tasks instead of one job. What runs on demand goes on there
until a spot worker is ready to take its place. Work that asks for spot waits for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from . import why
from .cases import Case, Split, case_of
from .needs import seen
from .nodekinds import Market
from .rooms import rooms
from .seeking import Found, Search, seek
from .shares import Share, shares
from .situation import Ending, Memory, Plan, Seen, Situation, Try, Wanted, Worker
from .tries import OPEN, observed

Look = Callable[[Search], Found]


def plan(situation: Situation) -> Plan:
    """What to want now, and what to remember for the next time."""
    tries, looks = observed(situation), seen(situation)
    cases = [case_of(kind, situation, looks) for kind in situation.kinds]
    cases.sort(key=lambda case: (-case.wish.oldest, case.kind.name))
    given = shares([case.wish for case in cases], situation.nodes, situation.rules)
    shapes = {kind.name: kind.shape for kind in situation.kinds}
    known = [worker for worker in situation.workers if worker.kind in shapes]
    free = rooms(situation.nodes, [(worker.node, shapes[worker.kind]) for worker in known])
    wanted: list[Wanted] = []
    endings: list[Ending] = []
    for case in cases:

        def look(search: Search, case: Case = case) -> Found:
            return seek(search, case.kind.shape, tries, free, known)

        split = _split(case, given[case.kind.name], situation, tries, look)
        leaving = _leaving(case, split, situation.now)
        endings += [Ending(worker.id, why.ends(worker, split)) for worker in leaving]
        wanted += _rows(case, split, leaving, tries, situation.now)
    strays = [worker for worker in situation.workers if worker.kind not in shapes and not worker.draining]
    endings += [Ending(worker.id, "no agent needs its kind any more") for worker in strays]
    return Plan(tuple(wanted), tuple(endings), _memory(situation, tries, looks, cases))


def _split(case: Case, share: Share, situation: Situation, tries: Mapping[str, Try], look: Look) -> Split:
    """Which of the workers that a kind gets are to be spot and which on demand, and where to ask for what lacks."""
    nodes, now, patience = case.nodes, situation.now, situation.rules.patience
    elsewhere = share.anywhere - share.settled
    units = share.spot + elsewhere
    insist = share.spot if nodes.on_demand else units
    open = sum(1 for kind in nodes.spot if not tries.get(kind.name, OPEN).closed(now))
    on_spot = Search(units, insist, case.spot, nodes.spot, patience / max(1, open), patience, now)
    from_spot = look(on_spot)
    short = max(0, elsewhere - max(0, on_spot.ready - share.spot))
    there = max(0, len(case.on_demand) - share.on_demand - share.settled)
    given_up = min(short, from_spot.unplaced + from_spot.overdue, case.impatient(elsewhere))
    fallback = max(given_up, min(short, there)) if nodes.on_demand else 0
    fixed = share.on_demand + share.settled + fallback
    on_demand = Search(fixed, fixed, case.on_demand, nodes.on_demand, patience, patience, now)
    return Split(share, on_spot, on_demand, from_spot, look(on_demand), fallback)


def _leaving(case: Case, split: Split, now: float) -> list[Worker]:
    """Whom to end, first those that have yet to come, then the idle, the longest so first, then the least busy."""
    spare = split.share.spare
    spot = _surplus(split.on_spot, split.from_spot, spare)
    staying = len(case.spot) - len(spot)
    used = min(spare, max(0, staying - split.on_spot.units)) if split.on_spot.ready >= split.on_spot.units else 0
    leaving = spot + _surplus(split.on_demand, split.from_demand, spare - used)
    return sorted(leaving, key=lambda worker: (worker.ready_at is not None, worker.busy, worker.idle_from))


def _surplus(search: Search, found: Found, spare: int) -> list[Worker]:
    """Those that the market does not need, and those that were waited for in vain."""
    given_up = {worker.id for worker in found.give_up}
    coming = [worker for worker in search.coming if worker.id not in given_up]
    ready = sorted(
        (worker for worker in search.workers if worker.ready_at is not None),
        key=lambda worker: (-worker.busy, -worker.idle_from, worker.id),
    )
    places = search.units + spare
    if search.ready < search.units:  # those that others were asked beside may come first yet
        coming = [worker for worker in coming if search.now - worker.asked_at < search.turn]
    return [*found.give_up, *coming[max(0, places - len(ready)) :], *ready[places:]]


def _rows(case: Case, split: Split, leaving: Sequence[Worker], tries: Mapping[str, Try], now: float) -> list[Wanted]:
    """What is wanted, for each market that the kind may use and each kind of node there that it uses."""
    rows: list[Wanted] = []
    ended = {worker.id for worker in leaving}
    markets: list[tuple[Market, Search, Found]] = [
        ("spot", split.on_spot, split.from_spot),
        ("on_demand", split.on_demand, split.from_demand),
    ]
    for market, search, found in markets:
        if not (search.nodes or search.workers):
            continue
        there = Counter(worker.node for worker in search.workers if worker.id not in ended)
        reason = why.wants(case, split, market, tries, now)
        names = sorted(there.keys() | +found.start)
        rows += [
            Wanted(case.kind.name, market, name, there[name] + found.start[name], found.start[name], reason)
            for name in names or [""]
        ]
    return rows


def _memory(
    situation: Situation, tries: Mapping[str, Try], looks: Mapping[tuple[str, ...], Seen], cases: Sequence[Case]
) -> Memory:
    needs = {(case.kind.name, part): needs for case in cases for part, needs in case.needs.items()}
    return Memory(situation.now, tries, looks, needs)
