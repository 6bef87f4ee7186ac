"""From nothing to 200 tasks and back to nothing on Ray's own autoscaler, with a spot machine taken away meanwhile: how
soon the first worker is there, what is lost, and what the machines cost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.actors import pool_status
from cluster.situation import Rules
from cluster.task import State, Task
from tests.autoscaling.harness import Cluster, autoscaled
from tests.autoscaling.work import Length, Nap
from tests.faults.background import Background, background

from .local import scratch

TASKS = 200
SECONDS = 1.0  # that each takes
RULES = Rules(idle=5.0, patience=15.0)
PRICES = {"cpu": 0.30, "spot": 0.10, "gpu": 1.50}  # USD an hour, about as they are to each other where they are rented
ON_DEMAND = PRICES["cpu"]
LOOK = 0.1  # seconds
AGENT = f"{Nap.__module__}:{Nap.__name__}"


def measure() -> dict[str, Any]:
    """One run; seconds are counted from when the tasks were accepted."""
    with (
        scratch() as folder,
        autoscaled() as cluster,
        background(folder, [AGENT], workers=4, rules=RULES) as back,
        _watched(cluster) as seen,
    ):
        tasks = asyncio.run(_run(cluster, back, seen))
        ended = seen.seconds
        cluster.until(lambda: not cluster.machines() and not cluster.nodes(), 120)
        gone = seen.seconds
    cost = sum(seconds * PRICES[kind] for kind, seconds in seen.node_seconds.items()) / 3600
    all_on_demand = sum(seen.node_seconds.values()) * ON_DEMAND / 3600
    return {
        "tasks": len(tasks),
        "first_node_s": seen.first_node,
        "first_worker_s": seen.first_worker,
        "first_result_s": seen.first_result,
        "last_result_s": round(ended, 1),
        "nodes_gone_after_s": round(gone - ended, 1),
        "lost": sum(1 for task in tasks if task.state != State.COMPLETED),
        "attempts_counted_twice": sum(task.attempts - 1 for task in tasks),
        "claims_given_back": sum(task.fence - 1 for task in tasks),
        "machines_taken": 1,
        "node_seconds": {kind: round(seconds, 1) for kind, seconds in seen.node_seconds.items()},
        "cost_usd": round(cost, 5),
        "all_on_demand_usd": round(all_on_demand, 5),
    }


class _Seen:
    """What a look every now and then has seen since the tasks were accepted."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.first_node: float | None = None
        self.first_worker: float | None = None
        self.first_result: float | None = None
        self.node_seconds: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def look(self, cluster: Cluster, passed: float) -> None:
        for machine in cluster.machines():
            self.node_seconds[machine.kind] = self.node_seconds.get(machine.kind, 0.0) + passed
        if self.first_node is None and cluster.nodes():
            self.first_node = round(self.seconds, 1)
        if self.first_worker is None and any(kind["ready"] for kind in pool_status()):
            self.first_worker = round(self.seconds, 1)


@contextmanager
def _watched(cluster: Cluster) -> Iterator[_Seen]:
    seen, over = _Seen(), threading.Event()

    def watch() -> None:
        last = seen.seconds
        while not over.wait(LOOK):
            now = seen.seconds
            seen.look(cluster, now - last)
            last = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


async def _run(cluster: Cluster, back: Background, seen: _Seen) -> list[Task]:
    """The tasks, once all have ended; a spot machine gets notice when the first of them has."""
    ids = await back.submit("nap", *[Length(seconds=SECONDS)] * TASKS)
    first = asyncio.create_task(_first(back))
    await first
    seen.first_result = round(seen.seconds, 1)
    (machine, *_) = cluster.machines("spot")
    cluster.reclaim(machine)
    return await back.ended(ids)


async def _first(back: Background) -> None:
    while not (await back.ledger.counts()).tasks.get("nap", {}).get(State.COMPLETED):
        await asyncio.sleep(LOOK)
