"""One task at a time: how long a caller waits who asks for the result with the submit."""

from __future__ import annotations

import json
import time
from statistics import median, quantiles

from .batches import INPUT
from .connection import Connection, request

WARM = 30


def measure(url: str, times: int) -> dict[str, float]:
    """p50 and p99 of `POST /v1/tasks` with `Prefer: wait`, over one connection, after some that do not count."""
    body = json.dumps({"agent": "echo", "input": INPUT})
    asked = request("POST", f"{url}/v1/tasks", body, Prefer="wait=30")
    with Connection(url) as connection:
        found = [_once(connection, asked) for _ in range(WARM + times)][WARM:]
    return summary(found)


def commits(url: str, times: int) -> dict[str, float]:
    """The same of a task that is not waited for: until it is safe."""
    asked = request("POST", f"{url}/v1/tasks", json.dumps({"agent": "echo", "input": INPUT}))
    return _all(url, asked, 202, times)


def answers(url: str, times: int) -> dict[str, float]:
    """And of an answer that nothing is kept of."""
    return _all(url, request("POST", f"{url}/v1/agents/echo/run", json.dumps(INPUT)), 200, times)


def _all(url: str, asked: bytes, expect: int, times: int) -> dict[str, float]:
    with Connection(url) as connection:
        found = []
        for _ in range(WARM + times):
            began = time.perf_counter()
            status, body = connection.send(asked)
            found.append(time.perf_counter() - began)
            if status != expect:
                raise RuntimeError(f"{status}: {body[:300]!r}")
    return summary(found[WARM:])


def summary(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    return {"p50_ms": round(median(seconds) * 1000, 3), "p99_ms": round(quantiles(seconds, n=100)[98] * 1000, 3)}


def _once(connection: Connection, asked: bytes) -> float:
    began = time.perf_counter()
    status, body = connection.send(asked)
    took = time.perf_counter() - began
    if status != 200 or json.loads(body)["state"] != "completed":
        raise RuntimeError(f"{status}: {body[:300]!r}")
    return took
