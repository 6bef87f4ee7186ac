"""How fast this disk syncs, and how fast a core counts: what every durable figure stands beside."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

BLOCK = 4096  # bytes appended before each sync
SECONDS = 2.0
ROUNDS = 100_000  # of a loop between two looks at the clock


def fdatasync(folder: Path, seconds: float = SECONDS) -> dict[str, float]:
    """Appends of 4 KiB, each synced: how many a second, and how long the median one takes."""
    path = folder / f"probe-{os.getpid()}"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    times = []
    try:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            began = time.perf_counter()
            os.write(handle, b"\0" * BLOCK)
            os.fdatasync(handle)
            times.append(time.perf_counter() - began)
    finally:
        os.close(handle)
        path.unlink()
    return {"per_second": round(len(times) / sum(times), 1), "p50_ms": round(median(times) * 1000, 3)}


def counting(seconds: float = SECONDS) -> float:
    """Millions of rounds that an empty loop of Python makes in a second, the median: a core that is idle here may
    still be slow, as where machines share it."""
    times: list[float] = []
    ends = time.perf_counter() + seconds / 4
    while not times or time.perf_counter() < ends:
        began = time.perf_counter()
        for _ in range(ROUNDS):
            pass
        times.append(time.perf_counter() - began)
    return round(ROUNDS / median(times) / 1e6, 1)


def steal(seconds: float = 1.0) -> float:
    """The share of both cores that somebody else uses now, 0 to 1: a figure taken on a busy machine says little."""
    before = _cpu()
    time.sleep(seconds)
    after = _cpu()
    total = sum(after) - sum(before)
    idle = (after[3] + after[4]) - (before[3] + before[4])
    return round(1 - idle / total, 3) if total else 0.0


def _cpu() -> list[int]:
    with open("/proc/stat") as file:
        return [int(field) for field in file.readline().split()[1:9]]
