"""How many replicas an agent needs, from what its replicas have to do.

Serve pickles this module by value into its controller, which may know nothing of ours: it imports the standard library
only. The controller asks ten times a second, for every agent, so that nothing here waits.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

COOLDOWN = 60.0  # seconds for which what was needed is kept
CATCH_UP = 5.0  # seconds in which those who wait in line should have had their turn
MARGIN = 1.0  # how many roots of the work to have free slots for

log = logging.getLogger("ray.serve")


class Sample(NamedTuple):
    """What a replica said, and when by its own clock, so that only differences mean anything; called as Serve does."""

    timestamp: float
    value: float


Said = Mapping[str, Sequence[Sample]]  # of one replica, by name


@dataclass(frozen=True, slots=True)
class Work:
    """What the replicas of an agent have to do: runs in their slots, runs in line, and how many runs are asked for each
    second, with those that are turned away, of how many seconds each (0: nobody knows)."""

    running: float = 0.0
    waiting: float = 0.0
    arrivals: float = 0.0
    service: float = 0.0

    @property
    def slots(self) -> float:
        """How many slots it keeps busy: those that are, or by Little's law what comes, and what soon ends the line."""
        line = self.waiting * (min(1.0, self.service / CATCH_UP) if self.service else 1.0)
        return max(self.running, self.arrivals * self.service) + line


@dataclass(frozen=True, slots=True)
class Bounds:
    """From `least` to `most` replicas of `slots` runs each; what was needed is kept for `cooldown` seconds."""

    least: int
    most: int
    slots: int
    cooldown: float = COOLDOWN

    def need(self, replicas: int, now: float) -> Need:
        """So many, as far as the bounds allow. Those of about the same time end together, so that a target that rose in
        steps does not fall in steps."""
        grain = self.cooldown / 4
        until = math.ceil((now + self.cooldown) / grain) * grain if grain else now
        return Need(max(self.least, min(self.most, replicas)), until)


class Need(NamedTuple):
    """So many replicas are to be kept until then."""

    replicas: int
    until: float


class Plan(NamedTuple):
    """How many replicas there should be, why, and the needs to remember, each larger than the next."""

    target: int
    reason: str
    needs: tuple[Need, ...]


def needed(work: Work, slots: int) -> int:
    """How many replicas the work needs: by the square-root rule (Halfin and Whitt, 1981), which keeps waits short with
    little room to spare where there is much work, and much where there is little."""
    return math.ceil((work.slots + MARGIN * math.sqrt(work.slots)) / slots)


def plan(work: Work | None, bounds: Bounds, needs: Sequence[Need], *, now: float, target: int) -> Plan:
    """The most that is needed or was within the cool-down: more at once, fewer when that is over.

    Where nothing is remembered, as after a restart of the controller, the present target counts as a need. So it does
    while nobody says what there is to do (no work): the replicas have yet to start, or to be heard.
    """
    wanted = target if work is None else needed(work, bounds.slots)
    latest = bounds.need(wanted, now)
    before = needs or (bounds.need(target, now),)
    kept = (*(need for need in before if need.until > now and need.replicas > latest.replicas), latest)
    return Plan(kept[0].replicas, _reason(work, wanted, kept, bounds), kept)


def work_of(replicas: Sequence[Said]) -> Work | None:
    """The work of all replicas, by what each said lately of its `running`, `waiting`, `arrived` and `service`. None
    where none has said anything."""
    if not replicas:
        return None
    services = [said["service"][-1].value for said in replicas if said.get("service")]
    known = [service for service in services if service > 0]
    return Work(
        running=_total([said.get("running", ()) for said in replicas]),
        waiting=_total([said.get("waiting", ()) for said in replicas]),
        arrivals=_rate([said.get("arrived", ()) for said in replicas]),
        service=sum(known) / len(known) if known else 0.0,
    )


class Scaling:
    """The policy that Serve's controller calls for one agent: it remembers what was needed."""

    def __init__(self, slots: int, cooldown: float = COOLDOWN) -> None:
        self._slots = slots
        self._cooldown = cooldown
        self._needs: tuple[Need, ...] = ()

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """The target, for a context as Serve has it, and nothing for Serve to remember."""
        least, most = ctx.capacity_adjusted_min_replicas, ctx.capacity_adjusted_max_replicas
        bounds = Bounds(least, most, self._slots, self._cooldown)
        made = plan(
            work_of(_by_replica(ctx.raw_metrics)),
            bounds,
            self._needs,
            now=ctx.current_time,
            target=ctx.target_num_replicas,
        )
        self._needs = made.needs
        if made.target != ctx.target_num_replicas:
            # a warning, since the controller that we start keeps nothing less
            log.warning("%s: %d replicas, of %d: %s", ctx.app_name, made.target, ctx.target_num_replicas, made.reason)
        return made.target, {}


def _by_replica(metrics: Mapping[str, Mapping[Any, Sequence[Sample]]]) -> list[Said]:
    """What Serve has by name and replica, of the replicas that said anything."""
    replicas = metrics.get("running", ())
    return [{name: series[replica] for name, series in metrics.items() if series.get(replica)} for replica in replicas]


def _reason(work: Work | None, wanted: int, kept: Sequence[Need], bounds: Bounds) -> str:
    if work is None:
        return "no replica has said what there is to do"
    told = (
        f"{work.running:.1f} runs and {work.waiting:.1f} in line, {work.arrivals:.1f}/s of {work.service:.3g} s each: "
        f"that needs {wanted} with {bounds.slots} slots"
    )
    if len(kept) > 1:
        return f"{told}, and {kept[0].replicas} were needed lately"
    if not bounds.least <= wanted <= bounds.most:
        return f"{told}, of {bounds.least} to {bounds.most}"
    return told


def _total(all: Sequence[Sequence[Sample]]) -> float:
    """What the replicas said together, on average; one that has just started said nothing before."""
    longest = max(map(len, all))
    return sum(sample.value for series in all for sample in series) / longest if longest else 0.0


def _rate(all: Sequence[Sequence[Sample]]) -> float:
    """How fast the counters grow together, at least: chance, which may add about the root of what came, is left out."""
    long = [series for series in all if len(series) > 1]
    came = sum(max(0.0, series[-1].value - series[0].value) for series in long)
    seconds = max((series[-1].timestamp - series[0].timestamp for series in long), default=0.0)
    return max(0.0, came - math.sqrt(came)) / seconds if seconds > 0 else 0.0
