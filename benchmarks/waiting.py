"""One task at a time: how long a caller waits who asks for the result with the submit."""

from __future__ import annotations

import json
import time
from statistics import median, quantiles

from .batches import INPUT
from .connection import Connection, request

WARM = 30
TASK = json.dumps({"agent": "echo", "input": INPUT})


def measure(url: str, times: int) -> dict[str, float]:
    """p50 and p99 of `POST /v1/tasks` with `Prefer: wait`, over one connection, after some that do not count."""
    return _all(url, request("POST", f"{url}/v1/tasks", TASK, Prefer="wait=30"), 200, times, state="completed")


def commits(url: str, times: int) -> dict[str, float]:
    """The same of a task that is not waited for: until it is safe."""
    return _all(url, request("POST", f"{url}/v1/tasks", TASK), 202, times)


def answers(url: str, times: int) -> dict[str, float]:
    """And of an answer that nothing is kept of."""
    return _all(url, request("POST", f"{url}/v1/agents/echo/run", json.dumps(INPUT)), 200, times)


def summary(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    return {"p50_ms": round(median(seconds) * 1000, 3), "p99_ms": round(quantiles(seconds, n=100)[98] * 1000, 3)}


def _all(url: str, asked: bytes, expect: int, times: int, *, state: str | None = None) -> dict[str, float]:
    with Connection(url) as connection:
        return summary([_once(connection, asked, expect, state) for _ in range(WARM + times)][WARM:])


def _once(connection: Connection, asked: bytes, expect: int, state: str | None) -> float:
    began = time.perf_counter()
    status, body = connection.send(asked)
    took = time.perf_counter() - began
    if status != expect or (state is not None and json.loads(body)["state"] != state):
        raise RuntimeError(f"{status}: {body[:300]!r}")
    return took
