"""How much each line of tasks asks of its workers: what a pool goes by, from memory alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from .book import Book
from .client import Demand
from .stats import Stats
from .task import State
from .windows import Line

LOOK = 1000  # queues of a line whose first task is looked at
NEAR = 5.0  # seconds: what ends by then is told as one; then up to twice as long, four times, and so on
OPEN = (State.QUEUED, State.RUNNING, State.WAITING)


def demand(book: Book, stats: Stats, now: float) -> tuple[Demand, ...]:
    """One for each line that has tasks which have not ended, or had some since this ledger started."""
    return tuple(_of(book, stats, *line, now) for line in _lines(book, stats))


def nearest(deadlines: Iterable[tuple[float, int]], now: float) -> tuple[tuple[float, int], ...]:
    """The deadlines in steps that double from NEAR seconds on: the first moment of each, and how many there are."""
    steps: list[tuple[float, int]] = []
    ends = now + NEAR
    for at, count in sorted(deadlines):
        if steps and at <= ends:
            steps[-1] = (steps[-1][0], steps[-1][1] + count)
            continue
        while at > ends:
            ends = now + 2 * (ends - now)
        steps.append((at, count))
    return tuple(steps)


def _lines(book: Book, stats: Stats) -> Iterable[tuple[str, str]]:
    plain = ((agent, "") for agent, state in book.counts if state in OPEN)
    return dict.fromkeys([*plain, *((agent, lane) for agent, lane, _ in book.lanes), *stats.lines()])


def _of(book: Book, stats: Stats, agent: str, lane: str, now: float) -> Demand:
    line = book.ready.line_of(agent, lane)
    counted = {state: _count(book, agent, lane, state) for state in OPEN}
    return Demand(
        agent,
        lane,
        line.due if line.whole else counted[State.QUEUED],
        counted[State.RUNNING],
        counted[State.WAITING],
        _oldest(line, now),
        stats.service(agent, lane),
        stats.rate(agent, lane, now),
        nearest(line.room.deadlines.items(), now),
    )


def _count(book: Book, agent: str, lane: str, state: str) -> int:
    if lane:
        return book.lanes[agent, lane, state]
    return book.counts[agent, state] - sum(n for (of, _, its), n in book.lanes.items() if (of, its) == (agent, state))


def _oldest(line: Line, now: float) -> float | None:
    heads = (window.head() for window in islice(line.windows.values(), LOOK))
    since = [max(task.created_at, task.run_at) for task in heads if task is not None]
    return max(0.0, now - min(since)) if since else None
