"""A long queue: what a million tasks that wait do to the others, to the ledger's memory, and to its next start."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from typing import Any

from cluster import processes
from deployments.state import StateFolder

from . import batches
from .batches import INPUT
from .connection import Connection, request
from .local import ECHO, HOLD, STEPS, Local, rubato, status

AGENTS = (ECHO, STEPS, HOLD)
BATCH = 10_000  # what one batch may have
PATIENCE = 120.0  # seconds for the ledger to come back
POLL = 0.05
MB = 1_000_000


def measure(local: Local, *, backlog: int, tasks: int, batch: int, rounds: int) -> dict[str, Any]:
    """Throughput with the backlog, and in turn that of another Rubato whose queue is empty; then the ledger's memory,
    and the time after a kill -9.

    The backlog waits for the slots of `hold`, which hold one task each for a day: it is as ready to run as any other.
    """
    began = time.perf_counter()
    batches.submit(local.url, "hold", tasks=backlog, batch=min(BATCH, backlog))
    seconds = time.perf_counter() - began
    with rubato(*AGENTS) as other:
        how = {"tasks": tasks, "batch": batch, "rounds": rounds}
        empty, full = batches.in_turn([other.url, local.url], "echo", **how)
    memory = _memory(_ledger(local))
    back = _killed(local)
    waiting = sum(status(local)["tasks"].get(state, 0) for state in ("queued", "running"))
    if waiting != backlog:
        raise RuntimeError(f"{backlog} tasks waited before the kill, {waiting} after it")
    return {
        "backlog": backlog,
        "accepted_per_s": round(backlog / seconds),
        "empty": empty,
        "full": full,
        "share": round(full["tasks_per_s"] / empty["tasks_per_s"], 3),
        "memory": memory,
        "after_kill": back,
    }


def _ledger(local: Local) -> int:
    """The ledger's process."""
    found = processes.marked(StateFolder(local.folder).id() or "")
    (pid,) = (process.pid for process in found if process.name().startswith("ray::Ledger"))
    return int(pid)


def _memory(pid: int) -> dict[str, float]:
    """MB that belong to the process (PSS: what it shares with others counts by shares), that it maps now (RSS), and
    that it ever mapped."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup, open(f"/proc/{pid}/status") as ever:
        lines = [line.split() for line in (*rollup, *ever)]
    kb = {line[0]: int(line[1]) for line in lines if line[0] in ("Pss:", "Rss:", "VmHWM:")}
    return {
        "pss_mb": round(kb["Pss:"] * 1024 / MB, 1),
        "rss_mb": round(kb["Rss:"] * 1024 / MB, 1),
        "peak_rss_mb": round(kb["VmHWM:"] * 1024 / MB, 1),
    }


def _killed(local: Local) -> dict[str, float]:
    """Kill the ledger; seconds until it is ready, has accepted a task, and that task's result is recorded."""
    task = json.dumps({"agent": "echo", "input": INPUT})
    submit = request("POST", f"{local.url}/v1/tasks", task)
    first = _ledger(local)
    os.kill(first, signal.SIGKILL)
    began = time.perf_counter()
    _until(local, request("GET", f"{local.url}/readyz"), 200)
    ready = time.perf_counter() - began
    accepted = json.loads(_until(local, submit, 202))
    again = time.perf_counter() - began
    with Connection(local.url) as connection:
        ended = connection.get(f"/v1/tasks/{accepted['id']}", wait=120)
    if ended["state"] != "completed" or _ledger(local) == first:
        raise RuntimeError(f"the ledger was killed, and a task after that is {ended['state']}")
    result = time.perf_counter() - began
    return {"ready_s": round(ready, 2), "accepted_s": round(again, 2), "result_s": round(result, 2)}


def _until(local: Local, asked: bytes, wanted: int) -> bytes:
    """The first answer with this status."""
    ends = time.monotonic() + PATIENCE
    last = b""
    while time.monotonic() < ends:
        with suppress(OSError), Connection(local.url) as connection:
            status, last = connection.send(asked)
            if status == wanted:
                return last
        time.sleep(POLL)
    raise RuntimeError(f"no {wanted} within {PATIENCE:.0f} s of the kill, but {last[:300]!r}")
