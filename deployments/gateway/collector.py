"""What Prometheus is told of a ledger: docs/metrics.md lists every name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from cluster.stats import Figures, Histogram, Measures, Process
from cluster.task import ENDED, State

PREFIX = "rubato"


class LedgerCollector(Collector):
    """One look at a ledger, as metrics; None is one that does not answer.

    The agents that are named have each of their series from the start, so that a first failure is seen as a rise. No
    series is of a tenant, a limit key or a task: there is no end to those.
    """

    def __init__(self, measures: Measures | None, agents: Iterable[str]) -> None:
        self._measures = measures
        self._agents = tuple(agents)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(f"{PREFIX}_ledger_up", "1 if the ledger answers, else 0", self._measures is not None)
        if self._measures is None:
            return
        found = self._measures
        agents = sorted({*self._agents, *found.tasks, *found.figures.claims})
        yield from _process(found.process)
        yield from _backlog(found, agents)
        yield from _counted(found.figures, agents)
        yield from _timed(found.figures, agents)


def _process(process: Process) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        f"{PREFIX}_ledger_start_time_seconds", "When the ledger's process started, since the epoch", process.started_at
    )
    yield CounterMetricFamily(f"{PREFIX}_ledger_cpu_seconds", "CPU time of the ledger's process", process.cpu_seconds)
    yield GaugeMetricFamily(
        f"{PREFIX}_ledger_resident_memory_bytes", "Memory of the ledger's process", process.resident_bytes
    )


def _backlog(found: Measures, agents: list[str]) -> Iterator[Metric]:
    states = {(agent, state.value): found.tasks.get(agent, {}).get(state, 0) for agent in agents for state in State}
    yield _filled(_gauge("tasks", "Tasks that are stored", "agent", "state"), states)
    dead = {agent: found.tasks.get(agent, {}).get(State.FAILED, 0) for agent in agents}
    yield _filled(_gauge("dead_letters", "Failed tasks that are stored and may be retried", "agent"), dead)
    ages = {agent: found.queued_for.get(agent, 0.0) for agent in agents}
    yield _filled(_gauge("oldest_queued_seconds", "For how long a queued task could have started", "agent"), ages)
    held = {agent: found.held.get(agent, 0) for agent in agents}
    yield _filled(_gauge("limits_held", "Limits that keep queued tasks from starting now", "agent"), held)


def _counted(figures: Figures, agents: list[str]) -> Iterator[Metric]:
    ended = {(agent, state.value): figures.ended.get((agent, state), 0) for agent in agents for state in sorted(ENDED)}
    yield _filled(_counter("tasks_ended", "Tasks that have ended", "agent", "state"), ended)
    for name, words, counts in (
        ("tasks_accepted", "Tasks that were accepted", figures.accepted),
        ("claims", "Claims that workers were given", figures.claims),
        ("attempts", "Attempts that began", figures.attempts),
        ("leases_lost", "Claims whose lease ran out", figures.lost_leases),
    ):
        yield _filled(_counter(name, words, "agent"), {agent: counts.get(agent, 0) for agent in agents})
    yield _filled(_counter("submissions_refused", "Submissions refused for want of room"), {(): figures.refused})
    yield _filled(_counter("ticks_failed", "Transactions that failed as a whole"), {(): figures.failed_ticks})


def _timed(figures: Figures, agents: list[str]) -> Iterator[Metric]:
    wait = _histogram("task_wait_seconds", "From when a task could first start until it did", "agent")
    yield _observed(wait, {(agent,): figures.waited[agent] for agent in agents if agent in figures.waited})
    run = _histogram("task_run_seconds", "From a task's first start to its end, waits and retries included", "agent")
    yield _observed(run, {(agent,): figures.took[agent] for agent in agents if agent in figures.took})
    tick = _histogram("tick_seconds", "What a transaction took, from its first read to its commit")
    yield _observed(tick, {(): figures.tick_seconds})
    moves = _histogram("tick_moves", "Requests that shared a transaction")
    yield _observed(moves, {(): figures.tick_moves})


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", words, labels=labels)


def _counter(name: str, words: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}_{name}", words, labels=labels)


def _histogram(name: str, words: str, *labels: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"{PREFIX}_{name}", words, labels=labels)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    """The family with a sample for each value, under the label, or labels, that it has in `values`."""
    for labels, value in values.items():
        family.add_metric([labels] if isinstance(labels, str) else labels, value)
    return family  # type: ignore[no-any-return]


def _observed(family: HistogramMetricFamily, seen: Mapping[tuple[str, ...], Histogram]) -> Metric:
    for labels, histogram in seen.items():
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum)
    return family
