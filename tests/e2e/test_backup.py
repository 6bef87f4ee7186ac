"""A backup made under load, restored elsewhere, and everything that it promised done there, once."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import House, house

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(900)]

QUEUED = 200  # tasks that are due only after the backup
AHEAD = 60.0  # seconds until they are


def ask(url: str, body: Any = None, **headers: str) -> Any:
    """The JSON that answers a GET, or a POST of this body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


class Load:
    """Tasks submitted one after the other for as long as it lasts; `accepted` are those that got their 202."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.accepted: list[str] = []
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self._over.is_set():
            text = f"load {len(self.accepted)}"
            try:
                self.accepted.append(ask(f"{self._url}/v1/tasks", {"agent": "echo", "input": {"text": text}})["id"])
            except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
                self.errors.append(error)

    def end(self) -> None:
        self._over.set()


@contextmanager
def loaded(url: str) -> Iterator[Load]:
    load = Load(url)
    threads = [threading.Thread(target=load.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.end()
        for thread in threads:
            thread.join()
    assert load.errors == []


def tasks(made: House) -> dict[str, Any]:
    """All tasks, by id."""
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        page = ask(f"{made.url}/v1/tasks?limit=200{cursor}")
        found |= {task["id"]: task for task in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def metric(made: House, name: str) -> float:
    """A series as Prometheus would read it."""
    with urllib.request.urlopen(f"{made.url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = [line.removeprefix(name) for line in lines if line.startswith(f"{name} ")]
    return float(value)


def starts(made: House, id: str) -> tuple[int, int]:
    """How many attempts of a task the stream of its events has, and how many outputs."""
    types = [event["type"] for event in made.lines("watch", id)]
    return types.count("attempt.started"), types.count("output")


def test_what_was_accepted_before_a_backup_is_done_once_where_it_is_restored(tmp_path: Path) -> None:
    kept = tmp_path / "kept.db"
    with house(tmp_path / "first") as first:
        assert first.up().returncode == 0
        due = datetime.now(UTC) + timedelta(seconds=AHEAD)
        inputs = [{"text": f"queued {number}"} for number in range(QUEUED)]
        options = {"run_at": due.isoformat()}
        batch = ask(f"{first.url}/v1/tasks/batch", {"agent": "echo", "inputs": inputs, "options": options})
        keyed = {"agent": "echo", "input": {"text": "keyed"}}
        key = ask(f"{first.url}/v1/tasks", keyed, **{"Idempotency-Key": "once"})["id"]
        with loaded(first.url) as load:
            while len(load.accepted) < 50:
                time.sleep(0.05)
            before = [key, *batch["task_ids"], *load.accepted]

            report = first.json("backup", str(kept))

            count = len(load.accepted)
            while len(load.accepted) == count:  # the ledger goes on
                time.sleep(0.05)
        refused = first.end("backup", str(kept))
        in_the_way = first.end("restore", str(kept))
        first.run("down")

    with house(tmp_path / "second") as second:
        restored = second.json("restore", str(kept))
        assert second.up().returncode == 0
        again = ask(f"{second.url}/v1/tasks", keyed, **{"Idempotency-Key": "once"})["id"]
        ends = time.monotonic() + AHEAD + 120
        while any(task["state"] != "completed" for task in tasks(second).values()):
            assert time.monotonic() < ends, "the restored tasks do not end"
            time.sleep(1)
        found = tasks(second)
        counted = {name: starts(second, name) for name in (key, batch["task_ids"][0], before[-1])}
        stored = metric(second, 'rubato_tasks{agent="echo",state="completed"}')
        up = metric(second, "rubato_ledger_up")
        second.run("down")

    assert (refused.returncode, in_the_way.returncode) == (1, 1)
    assert "is there already" in refused.stderr
    assert "./rubato down" in in_the_way.stderr
    assert report["tasks"] == restored["tasks"]
    assert report["artifacts"] == str(first.state / "artifacts")
    assert report["tasks"]["queued"] >= QUEUED
    assert set(before) <= found.keys() <= {key, *batch["task_ids"], *load.accepted}
    assert len(found) == sum(report["tasks"].values()) == stored
    assert {task["attempts"] for task in found.values()} == {1}
    assert {found[id]["output"]["text"] for id in batch["task_ids"]} == {each["text"] for each in inputs}
    assert set(counted.values()) == {(1, 1)}
    assert again == key
    assert up == 1
