"""A cluster that replaces another, as each upgrade of a RayService does: two real ones on one store."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.postgres import OwnServer, make_database

from .laborers import starts
from .rayservices import rayservice

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

SETTINGS = """
[agents.hauler]
agent = "tests.faults.laborers:Hauler"
[agents.echo]
agent = "agents.library.echo:Echo"
[store]
takeover = "when_ready"
[artifacts]
url = "artifacts"
[pool]
workers = 1
"""
STEPS, SECONDS = 8, 0.5  # of a task: some are under way at any time
PAUSE = 1.0  # seconds between two tasks


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


def submit(url: str, trace: Path) -> httpx.Response:
    job = {"trace": str(trace), "name": "job", "steps": STEPS, "seconds": SECONDS}
    return httpx.post(f"{url}/v1/tasks", json={"agent": "hauler", "input": job}, timeout=60)


def ended(url: str, id: str) -> dict[str, Any]:
    task: dict[str, Any] = (
        httpx.get(f"{url}/v1/tasks/{id}", headers={"Prefer": "wait=120"}, timeout=150).raise_for_status().json()
    )
    return task


def test_the_work_in_flight_survives_the_replacement_of_the_whole_cluster(
    tmp_path: Path, own_postgres: OwnServer, record_property: Callable[[str, object], None]
) -> None:
    store = asyncio.run(make_database(own_postgres, f"upgrade_{secrets.token_hex(4)}"))
    settings, trace = tmp_path / "rubato.toml", tmp_path / "trace"
    settings.write_text(SETTINGS)
    accepted: list[str] = []
    with rayservice(settings, store, ("echo",)) as old:
        until(lambda: ready(old))
        with rayservice(settings, store, ("echo",)) as new:
            while (answer := submit(old, trace)).status_code == 202:  # as long as the old one has the store
                accepted.append(answer.json()["id"])
                time.sleep(PAUSE)
            lost = time.monotonic()
            until(lambda: ready(new))
            away = time.monotonic() - lost
            tasks = [ended(new, id) for id in accepted]
            after = ended(new, submit(new, trace).raise_for_status().json()["id"])

    starts_of = Counter((task, step) for task, step, _ in starts(trace))
    twice = Counter(task for (task, _), count in starts_of.items() if count > 1)
    record_property("report", f"{len(tasks)} tasks, {len(twice)} of them moved; nobody accepted any for {away:.1f} s")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert {task["state"] for task in [*tasks, after]} == {"completed"}
    assert {len(task["output"]["marks"]) for task in tasks} == {STEPS}
    assert twice, "nothing was under way when the store was taken"
    assert max(twice.values()) == 1, "a recorded step ran again"
    assert max(starts_of.values()) == 2
