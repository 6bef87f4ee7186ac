"""Real time: agents on one replica each, and the same handlers on bare uvicorn and FastAPI, and on stock Ray Serve."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from . import first_event, handover, overload, sockets, stock
from .load import generator, post
from .local import ECHO, ROOT, free_port

BODY = '{"text": "hello"}'
CONNECTIONS = (1, 16)
ROUNDS = 5  # of each; the median by requests/s counts
SECONDS = 3.0
PATIENCE = 30.0


AGENTS = (
    ECHO,
    "benchmarks.agents:Kept",
    "benchmarks.agents:Counts",
    "benchmarks.agents:Slow",
    "benchmarks.agents:Busy",
)


def measure(url: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything of the Rubato at `url`, which has AGENTS."""
    say("real time: the echo agent, one replica; an answer that is kept; the first event of a stream")
    found = _beside_bare(url)
    say("a turn over a WebSocket, and in turn one of the bare socket")
    found["turn"] = _turns(url)
    say("turns that remember, and a thousand sockets at rest")
    found["sockets"] = sockets.measure(url)
    say("fifty callers who wait half a second for what takes three")
    found["handover"] = handover.measure(url)
    say("three times the load that there is room for, for a minute")
    found["overload"] = overload.measure(url)
    say("what is compared with bare FastAPI once more: of each figure the faster of both counts, as of its own")
    return found | faster(found, _beside_bare(url))


def _beside_bare(url: str) -> dict[str, Any]:
    """What bare FastAPI is measured in too."""
    agents = f"{url}/v1/agents"
    return {
        **_measure(f"{agents}/echo/run"),
        "kept": _measure(f"{agents}/kept/run", (1,))["1"],
        "first_event": first_event.measure(f"{agents}/echo/run"),
    }


def _turns(url: str) -> dict[str, Any]:
    """Of the echo agent, and `bare`; a bare server that nobody asks takes nothing from ours."""
    with _bare() as bare:
        _until_answering(f"{bare}/run")
        asked = sockets.Asked(f"{url}/v1/agents/echo/session", '"output"'), sockets.Asked(f"{bare}/socket", "hello")
        ours, bares = sockets.in_turn(*asked)
    return {**ours, "bare": bares}


def measure_bare() -> dict[str, Any]:
    """The same handlers without us."""
    with _bare() as url:
        return {
            **_measure(f"{url}/run"),
            "first_event": first_event.measure(f"{url}/stream"),
        }


def faster(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of two measures of the same contender the one that is harder to beat, figure by figure: by what its mark is of,
    which is the throughput where many ask at once, and else the time."""
    return {
        name: figure if isinstance(figure, dict) and _is_faster(name, figure, one[name]) else one[name]
        for name, figure in other.items()
    }


def _is_faster(name: str, figure: dict[str, Any], than: dict[str, Any]) -> bool:
    if name == str(max(CONNECTIONS)):
        return bool(figure["requests_per_s"] > than["requests_per_s"])
    return bool(figure["p50_ms"] < than["p50_ms"])


def measure_stock() -> dict[str, Any]:
    """The same handler on Ray Serve as it comes."""
    with stock.stock() as url:
        return _measure(f"{url}/run")


def _measure(url: str, at: Sequence[int] = CONNECTIONS) -> dict[str, Any]:
    _until_answering(url)
    post(url, BODY, max(CONNECTIONS), 1)  # warm
    found: dict[str, Any] = {"generator": generator()}
    for connections in at:
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
