"""A file of many lines through the pool: how fast, and how much memory the driver has at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from .local import MB, ROOT, Local

LINES = 100_000
TEXT = "x" * 300
ORDERS = ("input", "completion")
PAUSE = 0.02  # seconds between two looks at the driver


def measure(local: Local, lines: int = LINES) -> dict[str, Any]:
    """Both orders, one after the other."""
    source = local.folder / "in.jsonl"
    with source.open("w") as file:
        file.writelines(f'{{"text": "{n} {TEXT}"}}\n' for n in range(lines))
    return {order: _drive(local, source, local.folder / f"{order}.jsonl", order, lines) for order in ORDERS}


def _drive(local: Local, source: Path, out: Path, order: str, lines: int) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "deployments.job", "echo", str(source), str(out), "--order", order]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--json", "--url", local.url], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        most, cpu = _watch(process.pid)
        said, _ = process.communicate()
    seconds = time.perf_counter() - began
    end = json.loads(said.splitlines()[-1])
    if end["end"] != "completed":
        raise RuntimeError(f"the job did not end well: {end}")
    with out.open("rb") as file:
        recorded = len({json.loads(line)["line"] for line in file})
    return {
        "lines": lines,
        "recorded": recorded,
        "seconds": round(seconds, 2),
        "lines_per_s": round(lines / seconds),
        "driver_mb": round(max(most, end["peak_bytes"]) / MB, 1),
        "driver_cpu_s": round(cpu, 2),
    }


def _watch(pid: int) -> tuple[int, float]:
    """The most memory that the process was seen with until it ended, and the CPU time it took."""
    most, cpu, watched = 0, 0.0, psutil.Process(pid)
    while True:
        try:
            if watched.status() == psutil.STATUS_ZOMBIE:
                return most, cpu
            most = max(most, watched.memory_info().rss)
            times = watched.cpu_times()
            cpu = times.user + times.system
        except psutil.Error:
            return most, cpu
        time.sleep(PAUSE)
