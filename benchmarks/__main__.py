"""`./rubato bench`: measure, and print one JSON object with every figure beside its probe."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import background, probe, realtime
from .local import ECHO, Local, rubato

REALTIME_SHARE = 0.5  # of bare FastAPI's requests/s at 16 connections
BACKGROUND_RATE = 5_000  # tasks/s
FDATASYNC_RATE = 500  # a second: below it, marks in absolute figures say nothing about the software


def main() -> None:
    parser = argparse.ArgumentParser(prog="rubato bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "realtime", "background"), default="all")
    chosen = parser.parse_args().what
    found: dict[str, Any] = {"machine": _machine(), "busy_before": probe.steal()}
    if chosen != "background":
        _say("bare FastAPI on uvicorn, alone")
        found["bare"] = realtime.measure_bare()
    with rubato(ECHO) as local:
        found["fdatasync"] = probe.fdatasync(local.folder)
        if chosen != "background":
            _say("real time: the echo agent, one replica")
            found["realtime"] = realtime.measure(local.url)
        if chosen != "realtime":
            _say(f"background: {background.TASKS:,} tasks in batches, three times, then one at a time")
            found["background"] = _with_probe(local, lambda: asyncio.run(background.measure(local)))
    found["marks"] = _marks(found)
    print(json.dumps(found, indent=2))
    sys.exit(not all(mark["holds"] for mark in found["marks"].values()))


def _with_probe(local: Local, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    figures = measure()
    return {**figures, "fdatasync_after": probe.fdatasync(Path(local.folder))}


def _marks(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was promised, what was measured, and whether it holds."""
    marks: dict[str, dict[str, Any]] = {}
    if "realtime" in found:
        ours, bare = (found[name]["16"]["requests_per_s"] for name in ("realtime", "bare"))
        share = round(ours / bare, 3)
        marks["realtime_share_of_bare_at_16"] = {"mark": REALTIME_SHARE, "got": share, "holds": share >= REALTIME_SHARE}
    if "background" in found:
        rate = found["background"]["batches"]["tasks_per_s"]
        marks["background_tasks_per_s"] = {
            "mark": BACKGROUND_RATE,
            "got": rate,
            "holds": rate >= BACKGROUND_RATE,
            "disk_is_fast_enough": found["fdatasync"]["per_second"] >= FDATASYNC_RATE,
            "tasks_per_fdatasync": round(rate / found["fdatasync"]["per_second"], 1),
        }
    return marks


def _machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


main()
