"""How many workers the work of a kind needs, and how much of it may wait for spot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .situation import Backlog, Need, Seen, Situation, Worker, WorkerKind

DRAIN = 10.0  # seconds in which what is queued should be done, or in which a worker starts where that takes longer
UNKNOWN = 0.1  # seconds that a run takes, as long as none has ended nor lasted longer
SETTLE = 15.0  # seconds over which the busy slots are averaged
SLACK = 0.9  # of the time that is left: from here on work with a deadline does not wait for spot any more


class Load(NamedTuple):
    """What one backlog asks for, in workers and parts of one."""

    workers: float
    steady: float  # how many have to run all the time from now on, for every deadline to be kept
    pressure: float  # work left / time left, with as many workers as there may be
    patient: float  # of `workers`, those whose tasks have a deadline and time enough to wait for spot


@dataclass(frozen=True, slots=True)
class Demand:
    """How many workers a kind needs: in all, at least on demand, and at least on spot."""

    total: int = 0
    on_demand: int = 0
    spot: int = 0
    patience: float = 0.0  # the share of what may run anywhere that has time to wait for spot
    pressure: float = 0.0  # the highest of any deadline


def seen(situation: Situation) -> dict[tuple[str, ...], Seen]:
    """How each backlog keeps its slots, averaged over the last seconds: short runs come and go between two looks."""
    now, memory = situation.now, situation.memory
    weight = 1 - math.exp(-max(0.0, now - (now if memory.at is None else memory.at)) / SETTLE)
    found: dict[tuple[str, ...], Seen] = {}
    for kind in situation.kinds:
        for row in kind.backlog:
            key = kind.name, *row.key
            before = memory.seen.get(key, Seen(float(row.running), None))
            unknown = row.running and row.service is None
            since = (now if before.since is None else before.since) if unknown else None
            found[key] = Seen(before.busy + (row.running - before.busy) * weight, since)
    return found


def demand(
    kind: WorkerKind,
    workers: Sequence[Worker],
    seen: Mapping[tuple[str, ...], Seen],
    most: int,
    now: float,
) -> Demand:
    """What the kind's work needs now. `workers` are those of the kind; `most` how many of them there could be on
    demand."""
    rows = [row for row in kind.backlog if row.queued + row.running]
    if not rows:
        return Demand()
    staying = _staying(rows, workers)
    found = [(row, _load(row, kind, seen[kind.name, *row.key], staying, most, now)) for row in rows]
    slots = max(row.slots for row in rows)
    on_demand = sum(load.workers for row, load in found if _market(kind, row) == "on_demand")
    spot = sum(load.workers for row, load in found if _market(kind, row) == "spot")
    flexible = [load for row, load in found if _market(kind, row) == "any"]
    ready = sum(
        1 for worker in workers if worker.market == "spot" and worker.ready_at is not None and not worker.draining
    )
    pressed = sum(load.steady for load in flexible if load.pressure >= SLACK)
    steady = min(pressed, kind.most - on_demand - spot)
    least = _whole(on_demand + max(0.0, steady - max(0.0, ready - spot)), slots)
    least_spot = _whole(spot, slots)
    anywhere = sum(load.workers for load in flexible)
    return Demand(
        total=max(_whole(on_demand + spot + anywhere, slots), least + least_spot),
        on_demand=least,
        spot=least_spot,
        patience=sum(load.patient for load in flexible) / anywhere if anywhere else 0.0,
        pressure=max((load.pressure for load in flexible), default=0.0),
    )


def remembered(before: Sequence[Need], workers: int, idle: float, now: float) -> tuple[Need, ...]:
    """The needs to keep in mind, the largest first: what was needed within the last `idle` seconds, more than now.

    Those of about the same time end together, so that what rose in steps does not fall in steps.
    """
    grain = idle / 4
    until = math.ceil((now + idle) / grain) * grain if grain else now
    return (*(need for need in before if need.until > now and need.workers > workers), Need(workers, until))


def _staying(rows: Sequence[Backlog], workers: Sequence[Worker]) -> float:
    """The share of what runs that runs on workers that stay: the rest has its slots where nobody else gets any."""
    running = sum(row.running for row in rows)
    leaving = sum(worker.busy for worker in workers if worker.draining)
    return max(0.0, 1 - leaving / running) if running else 1.0


def _load(row: Backlog, kind: WorkerKind, seen: Seen, staying: float, most: int, now: float) -> Load:
    # As long as none has ended, the longest in progress is all that is known of how long they take.
    lasted = 0.0 if seen.since is None else now - seen.since
    service = max(UNKNOWN, lasted) if row.service is None else row.service
    tasks = row.queued + row.running * staying
    # A run that takes longer than the queue should has a slot to itself; of shorter ones several follow each other.
    line = tasks * min(1.0, service / max(DRAIN, kind.start))
    steady, pressure = _deadlines(row, kind, service, most, now)
    workers = max(max(line, min(seen.busy * staying, tasks)) / row.slots, steady)
    known = row.service is not None and pressure < SLACK
    share = min(1.0, sum(deadline.tasks for deadline in row.deadlines) / max(1, row.queued))
    return Load(workers, steady, pressure, workers * share if known else 0.0)


def _deadlines(row: Backlog, kind: WorkerKind, service: float, most: int, now: float) -> tuple[float, float]:
    """How many workers have to run from now on to keep every deadline, and the highest of work left / time left.

    Tasks are taken in the order of their deadlines; one on a worker that has yet to start has that much less time.
    """
    steady = pressure = 0.0
    tasks = row.running
    for deadline in sorted(row.deadlines):
        tasks += deadline.tasks
        left = deadline.at - now
        least = math.ceil(tasks / (max(1, most) * row.slots)) * service + kind.start
        pressure = max(pressure, least / left if left > 0 else math.inf)
        rounds = SLACK * (left - kind.start) // service  # of tasks, one after another in a slot
        steady = max(steady, tasks / max(1.0, rounds) / row.slots)
    return steady, pressure


def _market(kind: WorkerKind, row: Backlog) -> str:
    return row.market if kind.shape.market == "any" else kind.shape.market


def _whole(workers: float, slots: int) -> int:
    """Up to whole workers; none is started for less than half a slot of work."""
    return max(min(1, math.ceil(workers)), math.ceil(workers - 0.5 / slots))
