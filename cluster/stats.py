"""What the ledger counts of itself, for metrics and estimates; it starts at nothing with each ledger."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from .lanes import of_version
from .store import Served, Writes, tally
from .task import NEW, State, Task

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
TICK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
MOVES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000)
MEMORY = 60.0  # seconds after which what was seen counts for a third
NEWEST = 0.05  # how much the newest claim counts in the mean of how long they take

_AGENT = attrgetter("agent")
_START = attrgetter("agent", "lane", "rank", "fence", "created_at", "run_at")
_STOP = attrgetter("agent", "state", "started_at", "ended_at")
_CANCELED = State.CANCELED.value

Line = tuple[str, str]  # (agent, lane); of all versions of the agent together


class Histogram(NamedTuple):
    """How many values fell at or below each bound, and above all of them; and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Counting:
    """A histogram that grows."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def see(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def see_all(self, seconds: Iterable[float]) -> None:
        """Lapses of time: where the clock was set back, none took less than nothing."""
        bounds, counts = self._bounds, self._counts
        for value in seconds:
            if value > 0.0:
                counts[bisect_left(bounds, value)] += 1
                self._sum += value
            else:
                counts[0] += 1

    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(self._counts), self._sum)


class Rate:
    """How often something happens a second, of late."""

    __slots__ = ("_at", "_level")

    def __init__(self) -> None:
        self._level = 0.0
        self._at = -math.inf

    def see(self, count: int, now: float) -> None:
        self._level = self.level(now) + count / MEMORY
        self._at = now

    def level(self, now: float) -> float:
        """Times a second."""
        return self._level * math.exp(min(0.0, self._at - now) / MEMORY) if self._level else 0.0


class Figures(NamedTuple):
    """All that was counted since this ledger started."""

    ticks: int
    tick_seconds: Histogram
    tick_moves: Histogram
    claims: dict[str, int]  # by agent
    ended: dict[tuple[str, str], int]  # by (agent, state)
    waited: dict[str, Histogram]  # seconds from when a task could first start until it did, by agent
    took: dict[str, Histogram]  # seconds from a task's first start to its end, by agent
    lost_leases: dict[str, int]  # by agent
    refused: int  # submissions, for want of room
    accepted: dict[str, int]  # tasks by agent
    attempts: dict[str, int]  # by agent; a claim that goes on after a wait begins none
    failed_ticks: int  # none of their moves was committed; each was then tried alone


class Process(NamedTuple):
    """What the ledger's process takes of its machine."""

    started_at: float
    cpu_seconds: float
    resident_bytes: int


class Measures(NamedTuple):
    """What there is to measure of a ledger, all in one."""

    tasks: dict[str, dict[str, int]]  # by agent and state
    queued_for: dict[str, float]  # seconds that a queued task could have started for, the longest of each agent
    held: dict[str, int]  # limits that keep queued tasks from starting now, by agent
    figures: Figures
    process: Process


class Stats:
    """Counts what each committed tick did."""

    def __init__(self) -> None:
        self.ticks = 0
        self.failed_ticks = 0
        self.lost_leases: Counter[str] = Counter()
        self.refused = 0
        self._uncounted: list[tuple[Writes, int, float, float]] = []
        self._tick_seconds = Counting(TICK_SECONDS)
        self._tick_moves = Counting(MOVES)
        self._accepted: Counter[str] = Counter()
        self._claims: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._rates: defaultdict[Line, Rate] = defaultdict(Rate)
        self._services: dict[Line, float] = {}  # seconds that a worker has a claim, of late
        self._ended: Counter[tuple[str, str]] = Counter()
        self._waited: defaultdict[str, Counting] = defaultdict(lambda: Counting(SECONDS))
        self._took: defaultdict[str, Counting] = defaultdict(lambda: Counting(SECONDS))

    def committed(self, writes: Writes, moves: int, seconds: float, now: float) -> None:
        """A tick of so many moves took so long. It is counted by `count`, or when somebody asks: those whom the tick
        answers need not wait for it."""
        self.ticks += 1
        self._uncounted.append((writes, moves, seconds, now))

    def count(self) -> None:
        """Count what was committed."""
        uncounted, self._uncounted = self._uncounted, []
        for tick in uncounted:
            self._count(*tick)

    def lines(self) -> Iterable[Line]:
        """Those that something was claimed of."""
        self.count()
        return self._rates

    def rate(self, agent: str, lane: str, now: float) -> float:
        """Claims of a line in a second, of late."""
        self.count()
        rate = self._rates.get((agent, of_version(lane)))
        return rate.level(now) if rate is not None else 0.0

    def service(self, agent: str, lane: str) -> float | None:
        """Seconds that a worker has a claim of this line, of late; None: nobody knows."""
        self.count()
        return self._services.get((agent, of_version(lane)))

    def figures(self) -> Figures:
        self.count()
        return Figures(
            self.ticks,
            self._tick_seconds.histogram(),
            self._tick_moves.histogram(),
            dict(self._claims),
            dict(self._ended),
            {agent: counting.histogram() for agent, counting in self._waited.items()},
            {agent: counting.histogram() for agent, counting in self._took.items()},
            dict(self.lost_leases),
            self.refused,
            dict(self._accepted),
            dict(self._attempts),
            self.failed_ticks,
        )

    def _count(self, writes: Writes, moves: int, seconds: float, now: float) -> None:
        self._tick_seconds.see(seconds)
        self._tick_moves.see(moves)
        for agent in map(_AGENT, writes.new.values()):
            self._accepted[agent] += 1
        if writes.claimed:
            self._claim(writes.claimed, now)
        if writes.served:
            self._serve(writes.served)
        if writes.ended:
            self._end(writes.ended)

    def _claim(self, claimed: Sequence[Task], now: float) -> None:
        claims, waited = tally(), _apart()
        for agent, lane, rank, fence, created_at, run_at in map(_START, claimed):
            claims[agent, lane] += 1
            if rank == NEW:
                self._attempts[agent] += 1
            if fence == 1:
                waited[agent].append(now - (created_at if created_at > run_at else run_at))
        for (agent, lane), count in claims.items():
            self._rates[agent, of_version(lane) if lane else ""].see(count, now)
            self._claims[agent] += count
        for agent, seconds in waited.items():
            self._waited[agent].see_all(seconds)

    def _serve(self, served: Sequence[Served]) -> None:
        """Each claim counts for a part of the mean; those of one tick together as many would one after the other."""
        sums: defaultdict[Line, list[float]] = defaultdict(list)
        for agent, lane, seconds in served:
            sums[agent, of_version(lane) if lane else ""].append(seconds)
        for line, all in sums.items():
            mean, before = sum(all) / len(all), self._services.get(line)
            kept = 0.0 if before is None else (1 - NEWEST) ** len(all)
            self._services[line] = mean + ((before or 0.0) - mean) * kept

    def _end(self, ended: Sequence[Task]) -> None:
        took = _apart()
        for agent, state, started_at, ended_at in map(_STOP, ended):
            self._ended[agent, state] += 1
            if state != _CANCELED and started_at is not None and ended_at is not None:
                took[agent].append(ended_at - started_at)
        for agent, seconds in took.items():
            self._took[agent].see_all(seconds)


def _apart() -> defaultdict[str, list[float]]:
    """Values by agent."""
    return defaultdict(list)
