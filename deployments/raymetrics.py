"""What is measured in real time, in Ray's own metrics, which each node exports: docs/metrics.md lists every name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from ray.util.metrics import Counter, Gauge, Histogram

SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]
PREFIX = "rubato_realtime"
SOON = 0.005  # seconds after which answers are counted, all in one go: each alone would hold up the next request


class RayMeasures:
    """Measures of one replica of an agent, in a running loop."""

    def __init__(self, agent: str) -> None:
        self._agent = {"agent": agent}
        self._uncounted: list[Callable[[], None]] = []
        self._answers = self._histogram("seconds", "From a request to its answer", "answer")
        self._first_event = self._histogram("first_event_seconds", "From a request to the first event of its stream")
        self._failures = self._counter("failures_total", "Requests without an answer", "kind")
        self._joined = self._counter("coalesced_total", "Requests that shared the run of an equal one")
        self._promotions = self._counter("promotions_total", "Runs that went on as tasks", "reason")
        self._running = self._gauge("runs", "Runs in their slots")
        self._waiting = self._gauge("queue", "Requests in line for a slot")
        self._counter("replica_starts_total", "Replicas that took up work").inc()

    def answered(self, answer: str, seconds: float) -> None:
        self._soon(partial(self._answers.observe, seconds, {"answer": answer}))

    def failed(self, kind: str) -> None:
        self._soon(partial(self._failures.inc, tags={"kind": kind}))

    def first_event(self, seconds: float) -> None:
        self._first_event.observe(seconds)

    def joined(self) -> None:
        self._joined.inc()

    def promoted(self, why: str) -> None:
        self._promotions.inc(tags={"reason": why})

    def load(self, running: int, waiting: int) -> None:
        self._running.set(running)
        self._waiting.set(waiting)

    def _soon(self, count: Callable[[], None]) -> None:
        if not self._uncounted:
            asyncio.get_running_loop().call_later(SOON, self._count)
        self._uncounted.append(count)

    def _count(self) -> None:
        counts, self._uncounted = self._uncounted, []
        for count in counts:
            count()

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        counter = Counter(f"{PREFIX}_{name}", says, ("agent", *labels))
        counter.set_default_tags(self._agent)
        return counter

    def _gauge(self, name: str, says: str) -> Gauge:
        gauge = Gauge(f"{PREFIX}_{name}", says, ("agent",))
        gauge.set_default_tags(self._agent)
        return gauge

    def _histogram(self, name: str, says: str, *labels: str) -> Histogram:
        histogram = Histogram(f"{PREFIX}_{name}", says, SECONDS, ("agent", *labels))
        histogram.set_default_tags(self._agent)
        return histogram
