"""Tasks in batches: from submit to recorded result, through HTTP, the ledger and its workers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from .connection import Connection, request
from .until import until_completed

CONNECTIONS = 4
INPUT = {"text": "x" * 300}
PATIENCE = 120  # seconds a batch is waited for at a time


class Batch(NamedTuple):
    """What was accepted."""

    id: str
    last: str  # the id of its last task


def measure(url: str, agent: str, *, tasks: int, batch: int, rounds: int) -> dict[str, Any]:
    """Tasks/s of so many tasks, the median of some rounds after a short one to warm up."""
    return in_turn([url], agent, tasks=tasks, batch=batch, rounds=rounds)[0]


def in_turn(urls: Sequence[str], agent: str, *, tasks: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    """The same of each Rubato, one after the other in every round: all have the same minutes of a machine."""
    for url in urls:
        _round(url, agent, 2 * batch, batch)
    runs = [[_round(url, agent, tasks, batch) for url in urls] for _ in range(rounds)]
    return [_middle(of_one) for of_one in zip(*runs, strict=True)]


def _middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    middle = sorted(runs, key=lambda run: run["tasks_per_s"])[len(runs) // 2]
    return {**middle, "rounds": [run["tasks_per_s"] for run in runs]}


def submit(url: str, agent: str, *, tasks: int, batch: int) -> list[Batch]:
    """Submit tasks in batches of `batch` over four connections; returns once all are accepted."""
    asked = request(
        "POST", f"{url}/v1/tasks/batch", json.dumps({"agent": agent, "inputs": [INPUT] * batch}, separators=(",", ":"))
    )
    batches = range(tasks // batch)
    with ThreadPoolExecutor(CONNECTIONS) as senders:
        shares = [senders.submit(_send, url, asked, len(batches[first::CONNECTIONS])) for first in range(CONNECTIONS)]
        return [accepted for share in shares for accepted in share.result()]


def _send(url: str, asked: bytes, times: int) -> list[Batch]:
    accepted = []
    with Connection(url) as connection:
        for _ in range(times):
            status, body = connection.send(asked)
            if status != 202:
                raise RuntimeError(f"a batch was refused: {status} {body[:300]!r}")
            answer = json.loads(body)
            accepted.append(Batch(answer["batch_id"], answer["task_ids"][-1]))
    return accepted


def _round(url: str, agent: str, tasks: int, batch: int) -> dict[str, Any]:
    began = time.perf_counter()
    batches = submit(url, agent, tasks=tasks, batch=batch)
    submitted = time.perf_counter()
    with Connection(url) as connection:
        for one in batches:
            connection.get(f"/v1/tasks/{one.last}", wait=PATIENCE)  # then few polls are left to do
            until_completed(connection, batch_id=one.id)
    ended = time.perf_counter()
    return {
        "tasks": tasks,
        "accepted_per_s": round(tasks / (submitted - began)),
        "tasks_per_s": round(tasks / (ended - began)),
        "seconds": round(ended - began, 3),
    }
