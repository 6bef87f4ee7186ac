"""Requests as fast as they are answered, over so many connections: by wrk where it is installed, else by us.

Ours takes several times the CPU of wrk, on the same cores as what it measures: its figures are lower.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from statistics import median, quantiles

from .callers import callers_until
from .local import ROOT

LUA = """
wrk.method = "POST"
wrk.body = [==[%s]==]
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format('{"requests": %%d, "seconds": %%f, "p50_ms": %%f, "p99_ms": %%f, "errors": %%d}',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
"""


def generator() -> str:
    """Which one `post` uses."""
    return "wrk" if shutil.which("wrk") else "asyncio"


def post(url: str, body: str, connections: int, seconds: float) -> dict[str, float]:
    """POST `body` again and again. Raises RuntimeError if any answer was not a 200."""
    found = _wrk(url, body, connections, seconds) if generator() == "wrk" else _ours(url, body, connections, seconds)
    if found["errors"] or not found["requests"]:
        raise RuntimeError(f"{url}: {found['errors']} of {found['requests']} requests failed")
    return {
        "requests_per_s": round(found["requests"] / found["seconds"], 1),
        "p50_ms": round(found["p50_ms"], 3),
        "p99_ms": round(found["p99_ms"], 3),
    }


def _wrk(url: str, body: str, connections: int, seconds: float) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % body)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}", "-s", script.name, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(said[said.rindex("{") :])
    return found


def _ours(url: str, body: str, connections: int, seconds: float) -> dict[str, float]:
    """In a process of its own, as wrk is."""
    command = [sys.executable, "-m", "benchmarks.load", url, body, str(connections), str(seconds)]
    found: dict[str, float] = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return found


async def _main(url: str, body: str, connections: int, seconds: float) -> dict[str, float]:
    began = time.perf_counter()
    until = began + seconds
    callers = await callers_until(url, body, connections, lambda: time.perf_counter() < until)
    times = [taken for caller in callers for taken in caller.times]
    return {
        "requests": len(times),
        "seconds": time.perf_counter() - began,
        "p50_ms": median(times) * 1000,
        "p99_ms": quantiles(times, n=100)[98] * 1000,
        "errors": sum(caller.lost + len(caller.times) - caller.statuses[200] for caller in callers),
    }


if __name__ == "__main__":
    import uvloop

    url, body, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(_main(url, body, int(connections), float(seconds)))))
