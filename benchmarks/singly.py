"""Tasks submitted one by one: a request for each, over sixteen connections, to the last recorded result.

The requests come from wrk where it is installed, else from us, which takes more of the CPU that is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import Any

from .batches import INPUT
from .callers import callers_until
from .connection import Connection
from .load import generator
from .local import ROOT
from .until import until_completed

CONNECTIONS = 16
PATIENCE = 600  # seconds for all of them to be accepted

# wrk knows no number of requests: after the last one each connection waits for ever, and the last answer ends it.
LUA = """
wrk.method = "POST"
wrk.body = [==[%s]==]
wrk.headers["Content-Type"] = "application/json"
local sent, answered, accepted = 0, 0, 0
delay = function()
    sent = sent + 1
    return sent <= %d and 0 or 3600000
end
response = function(status)
    answered = answered + 1
    if status == 202 then accepted = accepted + 1 end
    if answered == %d then
        io.write(accepted)
        io.flush()
        os.exit(0)
    end
end
"""


def measure(url: str, tasks: int) -> dict[str, Any]:
    """Tasks/s of so many, each its own `POST /v1/tasks`. Raises RuntimeError where one was refused or has failed."""
    body = json.dumps({"agent": "echo", "input": INPUT}, separators=(",", ":"))
    began = time.perf_counter()
    accepted = (_by_wrk if generator() == "wrk" else _by_us)(f"{url}/v1/tasks", body, tasks)
    submitted = time.perf_counter()
    if accepted != tasks:
        raise RuntimeError(f"{tasks} tasks were sent, and {accepted} accepted")
    with Connection(url) as connection:
        until_completed(connection, agent="echo")
    ended = time.perf_counter()
    return {
        "tasks": tasks,
        "generator": generator(),
        "accepted_per_s": round(tasks / (submitted - began)),
        "tasks_per_s": round(tasks / (ended - began)),
        "seconds": round(ended - began, 3),
    }


def _by_wrk(url: str, body: str, times: int) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % (body, times, times))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{PATIENCE}", "--timeout", "60", "-s", script.name, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    last = said.splitlines()[-1]
    if not last.isdecimal():
        raise RuntimeError(f"wrk had not all answers after {PATIENCE} s: {said}")
    return int(last)


def _by_us(url: str, body: str, times: int) -> int:
    """In a process of its own, as wrk is."""
    command = [sys.executable, "-m", "benchmarks.singly", url, body, str(times)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


async def _main(url: str, body: str, times: int) -> int:
    left = iter(range(times))
    callers = await callers_until(url, body, CONNECTIONS, lambda: next(left, None) is not None)
    statuses: Counter[int] = Counter()
    for caller in callers:
        statuses += caller.statuses
    return statuses[202]


if __name__ == "__main__":
    import uvloop

    print(uvloop.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
