"""Real time: the echo agent on one replica, and the same handler on bare uvicorn and FastAPI."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from .load import generator, post
from .local import ROOT, free_port

BODY = '{"text": "hello"}'
CONNECTIONS = (1, 16)
ROUNDS = 5  # of each; the median by requests/s counts
SECONDS = 3.0
PATIENCE = 30.0


def measure(url: str) -> dict[str, Any]:
    """Requests/s, p50 and p99 of the echo agent of the Rubato at `url`, by connections."""
    return _measure(f"{url}/v1/agents/echo/run")


def measure_bare() -> dict[str, Any]:
    """The same of the handler without us."""
    with _bare() as url:
        return _measure(f"{url}/run")


def _measure(url: str) -> dict[str, Any]:
    _until_answering(url)
    post(url, BODY, max(CONNECTIONS), 1)  # warm
    found: dict[str, Any] = {"generator": generator()}
    for connections in CONNECTIONS:
        rounds = [post(url, BODY, connections, SECONDS) for _ in range(ROUNDS)]
        middle = median(one["requests_per_s"] for one in rounds)
        typical = next(one for one in rounds if one["requests_per_s"] == middle)
        found[str(connections)] = {**typical, "rounds": [one["requests_per_s"] for one in rounds]}
    return found


@contextmanager
def _bare() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning", "--no-access-log"], cwd=ROOT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _until_answering(url: str) -> None:
    ends = time.monotonic() + PATIENCE
    request = urllib.request.Request(url, BODY.encode(), {"Content-Type": "application/json"})
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
