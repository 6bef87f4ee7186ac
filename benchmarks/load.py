"""Requests as fast as they are answered, over so many connections: by wrk where it is installed, else by us.

Ours takes several times the CPU of wrk, on the same cores as what it measures: its figures are lower.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

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
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


class _Connection(asyncio.Protocol):
    """One caller, who asks again as soon as there is an answer."""

    def __init__(self, request: bytes, until: float, times: list[float], ended: asyncio.Future[None]) -> None:
        self._request = request
        self._until = until
        self._times = times
        self._ended = ended
        self._answer = b""
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(failed=True)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._times.append(time.perf_counter() - self._asked)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._finish(failed=False)

    def _ask(self) -> None:
        self._answer = b""
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def _finish(self, *, failed: bool) -> None:
        if not self._ended.done():
            self.errors += failed
            self._ended.set_result(None)
            self._transport.close()


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at : at + 12].split(b"\r\n")[0])


async def _main(url: str, body: str, connections: int, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    request = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    request += f"Content-Length: {len(body.encode())}\r\n\r\n{body}"
    loop = asyncio.get_running_loop()
    began, times = time.perf_counter(), list[float]()
    clients, ends = [], []
    for _ in range(connections):
        ends.append(loop.create_future())
        client = _Connection(request.encode(), began + seconds, times, ends[-1])
        await loop.create_connection(lambda client=client: client, host, port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.gather(*ends)
    return {
        "requests": len(times),
        "seconds": time.perf_counter() - began,
        "p50_ms": median(times) * 1000,
        "p99_ms": quantiles(times, n=100)[98] * 1000,
        "errors": sum(client.errors for client in clients),
    }


if __name__ == "__main__":
    import uvloop

    url, body, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(_main(url, body, int(connections), float(seconds)))))
