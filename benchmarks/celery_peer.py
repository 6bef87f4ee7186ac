"""What a user would pick instead: Celery on a durable Redis, the same no-op, the same two worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from . import waiting
from .batches import CONNECTIONS, INPUT
from .celery_app import BROKER, REDIS, RESULTS, make
from .local import ROOT
from .redis_server import redis_server
from .until import until

PATIENCE = 3600.0  # seconds for all results: on a slow disk it takes long
ONE_SECONDS = 60.0
POLL = 0.02
QUIET = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")

# Two processes that run tasks: as children of one that fetches, which is Celery's own way; each on its own; or each on
# its own with threads, whose waits for the disk overlap.
WORKERS = {
    "prefork": (("--pool", "prefork", "--concurrency", "2"),),
    "solo": (("--pool", "solo"),) * 2,
    "threads": (("--pool", "threads", "--concurrency", "16"),) * 2,
}


def measure(folder: Path, *, tasks: int, one_at_a_time: int) -> dict[str, Any]:
    """Tasks/s from submit to recorded result, and the time of one at a time, for each way to run two workers; and the
    best of them, figure by figure."""
    ways = {}
    for name, workers in WORKERS.items():
        (folder / name).mkdir()
        with redis_server(folder / name) as url, _workers(folder / name, url, workers):
            _once(make(url))
            ways[name] = {**_batches(url, tasks), "one_at_a_time": _one_at_a_time(url, one_at_a_time)}
    return {
        **ways,
        "tasks_per_s": max(way["tasks_per_s"] for way in ways.values()),
        "p50_ms": min(way["one_at_a_time"]["p50_ms"] for way in ways.values()),
    }


@contextmanager
def _workers(folder: Path, url: str, options: tuple[tuple[str, ...], ...]) -> Iterator[None]:
    """One process for each of these options, that all take from one queue; ended by their own processes."""
    env = {**os.environ, REDIS: url}
    processes = []
    with (folder / "celery.log").open("wb") as log:
        for number, option in enumerate(options):
            command = [sys.executable, "-m", "celery", "--app", "benchmarks.celery_app", "worker", *QUIET, *option]
            command += ["--hostname", f"benchmark{number}@localhost"]
            processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log))
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _batches(url: str, tasks: int) -> dict[str, Any]:
    """Submitted over as many connections as to ours, each by its own producer; a result is recorded when it can be
    read, which is asked at the lowest price there is: how many keys the results' database has."""
    results = redis.Redis.from_url(f"{url}/{RESULTS}")
    results.flushdb()
    # Without a backend of its own a submitter does not subscribe to each result, which nobody here would hear.
    submitter = Celery("submitter", broker=f"{url}/{BROKER}")
    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as senders:
        for share in [senders.submit(_send, submitter, tasks // CONNECTIONS) for _ in range(CONNECTIONS)]:
            share.result()
    submitted = time.perf_counter()
    until(lambda: results.dbsize() >= tasks, f"{tasks} results", seconds=PATIENCE, poll=POLL)
    ended = time.perf_counter()
    _check(results)
    return {
        "tasks": tasks,
        "accepted_per_s": round(tasks / (submitted - began)),
        "tasks_per_s": round(tasks / (ended - began)),
        "seconds": round(ended - began, 3),
    }


def _send(app: Celery, times: int) -> None:
    with app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection)
        for _ in range(times):
            app.send_task("echo", (INPUT,), producer=producer)


def _check(results: redis.Redis) -> None:
    for key in results.scan_iter(count=1000):
        kept = results.get(key)
        if not isinstance(kept, bytes) or b'"status": "SUCCESS"' not in kept:
            raise RuntimeError(f"a Celery task has no good result: {kept!r}")


def _one_at_a_time(url: str, times: int) -> dict[str, float]:
    app = make(url)
    found = [_once(app) for _ in range(waiting.WARM + times)]
    return waiting.summary(found[waiting.WARM :])


def _once(app: Celery) -> float:
    began = time.perf_counter()
    if app.send_task("echo", (INPUT,)).get(timeout=ONE_SECONDS) != INPUT:
        raise RuntimeError("Celery's echo says something else")
    return time.perf_counter() - began
