"""A cluster that replaces another, as each upgrade of a RayService does: two real ones on one store."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.claims import LEASE
from tests.cluster.on_postgres import say
from tests.postgres import OwnServer, make_database

from .laborers import spans
from .rayservices import rayservice

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

SETTINGS = """
[agents.carter]
agent = "tests.faults.laborers:Carter"
[agents.echo]
agent = "agents.library.echo:Echo"
[store]
takeover = "when_ready"
[artifacts]
url = "artifacts"
[pool]
workers = 1
"""
SHORT = {"steps": 8, "seconds": 0.5}  # some are under way at any time ...
LONG = {"steps": 1, "seconds": LEASE + 10.0}  # ... and one of these, whose step outlasts the lease
EVERY = 12  # how many short ones come with a long one
PAUSE = 1.5  # seconds between two tasks
LATE = 2.0  # seconds beyond the lease, in which a task goes on: one to be queued, one to be begun


def until(met: Callable[[], bool], seconds: float = 180) -> None:
    ends = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.2)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def submit(url: str, trace: Path, job: dict[str, float]) -> httpx.Response:
    given = {"trace": str(trace), "name": "job", **job}
    return httpx.post(f"{url}/v1/tasks", json={"agent": "carter", "input": given}, timeout=60)


def ended(url: str, id: str) -> dict[str, Any]:
    task: dict[str, Any] = (
        httpx.get(f"{url}/v1/tasks/{id}", headers={"Prefer": "wait=120"}, timeout=150).raise_for_status().json()
    )
    return task


@contextmanager
def watching(store: str) -> Iterator[list[float]]:
    """Brings when the store's second generation was seen to begin, and when its ledger had read the book."""
    seen: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1) and len(seen) < 2:
            rows = asyncio.run(say(store, "select generation, tick from owner"))
            if rows and rows[0]["generation"] == 2:
                seen.extend([time.time()] * (1 + (rows[0]["tick"] > 0) - len(seen)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield seen
    over.set()
    watcher.join()


def test_the_work_in_flight_survives_the_replacement_of_the_whole_cluster(
    tmp_path: Path, own_postgres: OwnServer, record_property: Callable[[str, object], None]
) -> None:
    store = asyncio.run(make_database(own_postgres, f"upgrade_{secrets.token_hex(4)}"))
    settings, trace = tmp_path / "rubato.toml", tmp_path / "trace"
    settings.write_text(SETTINGS)
    accepted: list[str] = []
    with rayservice(settings, store, ("echo",)) as old:
        until(lambda: ready(old))
        with rayservice(settings, store, ("echo",)) as new, watching(store) as seen:
            for number in count():  # as long as the old one has the store
                answer = submit(old, trace, SHORT if number % EVERY else LONG)
                if answer.status_code != 202:
                    break
                accepted.append(answer.json()["id"])
                time.sleep(PAUSE)
            lost = time.monotonic()
            until(lambda: ready(new))
            away = time.monotonic() - lost
            tasks = [ended(new, id) for id in accepted]
            after = ended(new, submit(new, trace, SHORT).raise_for_status().json()["id"])

    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert {task["state"] for task in [*tasks, after]} == {"completed"}
    taken, read = seen
    runs = spans(trace)
    moved = {
        task: (first, again)
        for task, run in runs.items()
        for first, again in pairwise(run)
        if again.begins > taken > first.begins
    }
    twice = [again for first, again in moved.values() if first.step == again.step]
    stopped = max(first.ends for first, _ in moved.values()) - taken
    goes_on = max(again.begins for _, again in moved.values()) - read
    record_property(
        "report",
        f"{len(tasks)} tasks, {len(moved)} of them moved; the old workers had stopped {stopped:.1f} s after the store"
        f" was taken, the last went on {goes_on:.1f} s after it was read; nobody accepted any for {away:.1f} s",
    )
    assert twice, "nothing was under way when the store was taken"
    for run in runs.values():
        assert all(first.ends <= again.begins for first, again in pairwise(run)), "a task ran twice at a time"
    for run in runs.values():
        assert len(run) <= len({span.step for span in run}) + 1, "a recorded step ran again"
    assert any(again.ends - again.begins > LEASE for again in twice), "no step that outlasts the lease moved"
    assert goes_on < LEASE + LATE
