"""A fleet of replicas on a clock of its own: callers come, runs take their time, and a policy says how many replicas.

What happens when is as Serve does it with our settings: a replica takes note of its work every 0.4 s and reports the
last 2 s of it every 0.5 s, the controller asks the policy every 0.1 s, and a new replica takes a while to start.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

from deployments.scaling import Sample, Scaling
from deployments.serving import SECONDS_TO_LOOK_BACK, SECONDS_TO_TELL

NOTED, ASKED = 0.4, 0.1  # seconds
SMOOTH = 0.2  # as in deployments/live.py


@dataclass
class Machine:
    """One replica: runs in slots, a line of so many, and whoever comes to a full one is turned away."""

    slots: int
    queue: int
    starts_at: float
    running: list[tuple[float, float]] = field(default_factory=list)  # when each ends, and how long it takes
    waiting: deque[float] = field(default_factory=deque)  # how long each will take
    arrived: int = 0
    service: float = 0.0
    refused: int = 0
    noted: deque[tuple[float, dict[str, float]]] = field(default_factory=deque)
    reported: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def busy(self) -> int:
        return len(self.running) + len(self.waiting)

    def take(self, now: float, takes: float) -> None:
        self.arrived += 1
        if len(self.running) < self.slots:
            heapq.heappush(self.running, (now + takes, takes))
        elif len(self.waiting) < self.queue:
            self.waiting.append(takes)
        else:
            self.refused += 1

    def end_runs(self, now: float) -> None:
        while self.running and self.running[0][0] <= now:
            ended, took = heapq.heappop(self.running)
            self.service += (took - self.service) * (SMOOTH if self.service else 1.0)
            if self.waiting:
                takes = self.waiting.popleft()
                heapq.heappush(self.running, (ended + takes, takes))

    def note(self, now: float) -> None:
        said = {"running": len(self.running), "waiting": len(self.waiting), "arrived": self.arrived}
        self.noted.append((now, {**said, "service": self.service}))

    def report(self, now: float) -> None:
        while self.noted and self.noted[0][0] < now - SECONDS_TO_LOOK_BACK:
            self.noted.popleft()
        names = self.noted[-1][1] if self.noted else ()
        self.reported = {name: [Sample(at, said[name]) for at, said in self.noted] for name in names}


@dataclass
class Fleet:
    """`rate(now)` callers a second come, evenly or, with `chance`, at random; a run takes `takes` seconds."""

    rate: Callable[[float], float]
    takes: float
    slots: int
    queue: int
    least: int
    most: int
    start_seconds: float = 3.0
    chance: Random | None = None
    now: float = 0.0
    targets: list[tuple[float, int]] = field(default_factory=list)  # whenever it changed

    def __post_init__(self) -> None:
        self.machines = [Machine(self.slots, self.queue, 0.0) for _ in range(self.least)]
        self.gone = 0  # refused by replicas that were stopped since
        self.targets.append((0.0, self.least))
        self._policy = Scaling(self.slots)
        self._due = 0.0

    @property
    def target(self) -> int:
        return self.targets[-1][1]

    @property
    def refused(self) -> int:
        return self.gone + sum(machine.refused for machine in self.machines)

    def run_until(self, end: float) -> None:
        """In steps of a hundredth of a second."""
        for step in itertools.count(round(self.now * 100)):
            self.now = step / 100
            if self.now >= end:
                return
            ready = [machine for machine in self.machines if machine.starts_at <= self.now]
            self._let_in(ready)
            for place, machine in enumerate(ready):
                machine.end_runs(self.now)
                if (step + 7 * place) % round(100 * NOTED) == 0:
                    machine.note(self.now)
                if (step + 13 * place) % round(100 * SECONDS_TO_TELL) == 0:
                    machine.report(self.now)
            if step % round(100 * ASKED) == 0:
                self._ask(ready)

    def _let_in(self, ready: list[Machine]) -> None:
        rate = self.rate(self.now)
        while rate > 0 and self._due <= self.now:
            self._due = max(self._due, self.now - 1) + (self.chance.expovariate(rate) if self.chance else 1 / rate)
            min(ready, key=lambda machine: machine.busy).take(self.now, self.takes)

    def _ask(self, ready: list[Machine]) -> None:
        metrics: dict[str, dict[int, list[Sample]]] = {}
        for place, machine in enumerate(ready):
            for name, series in machine.reported.items():
                metrics.setdefault(name, {})[place] = series
        target, _ = self._policy(context(metrics, now=self.now, target=self.target, least=self.least, most=self.most))
        if target != self.target:
            self.targets.append((self.now, target))
            self._resize(target)

    def _resize(self, target: int) -> None:
        while len(self.machines) > target:
            self.gone += self.machines.pop().refused
        while len(self.machines) < target:
            self.machines.append(Machine(self.slots, self.queue, self.now + self.start_seconds))


def context(metrics: dict[str, Any], *, now: float, target: int, least: int = 1, most: int = 10) -> SimpleNamespace:
    """What Serve's controller hands to a policy, as far as ours may look at it."""
    return SimpleNamespace(
        raw_metrics=metrics,
        current_time=now,
        target_num_replicas=target,
        capacity_adjusted_min_replicas=least,
        capacity_adjusted_max_replicas=most,
        app_name="agent-simulated",
    )
