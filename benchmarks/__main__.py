"""`./rubato bench`: measure, and print one JSON object with every figure beside its probe."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from typing import Any

from . import background, elastic, job, ledger, probe, realtime
from .ledger import Sizes
from .local import ECHO, rubato
from .marks import marks, table

PARTS = {
    "all": ("realtime", "ledger"),
    "realtime": ("realtime",),
    "background": ("background",),
    "job": ("job",),
    "pool": ("pool",),
    "ledger": ("ledger",),
}


def main() -> None:
    options = _parser().parse_args()
    found: dict[str, Any] = {"machine": _machine(), "busy_before": probe.steal()}
    for part in PARTS[options.what]:
        found |= MEASURES[part](options)
    found["marks"] = marks(found)
    print(json.dumps(found, indent=2))
    print("\n".join([table(found["marks"]), *found.get("ledger", {}).get("left_out", ())]), file=sys.stderr)
    sys.exit(not all(mark["holds"] for mark in found["marks"].values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rubato bench", description=__doc__)
    help = (
        "all: real time and the ledger. background: two figures of the ledger, in a minute. job: a file, by its "
        "driver. pool: machines that come and go."
    )
    parser.add_argument("what", nargs="?", choices=PARTS, default="all", help=help)
    parser.add_argument(
        "--no-backlog", action="store_true", help="ledger: without the million queued tasks, which take minutes"
    )
    return parser


def _realtime(options: argparse.Namespace) -> dict[str, Any]:
    _say("bare FastAPI on uvicorn, alone")
    bare = realtime.measure_bare()
    _say("stock Ray Serve, in a Ray of its own")
    stock = realtime.measure_stock()
    with rubato(*realtime.AGENTS) as local:
        ours = realtime.measure(local.url, _say)
    _say("bare FastAPI once more: the faster of both counts, since machines have better and worse minutes")
    return {"bare": realtime.faster(bare, realtime.measure_bare()), "stock": stock, "realtime": ours}


def _background(options: argparse.Namespace) -> dict[str, Any]:
    with rubato(ECHO) as local:
        _say(f"background: {Sizes().tasks:,} tasks in batches, three times, then one at a time")
        return {"background": background.measure(local, Sizes())}


def _ledger(options: argparse.Namespace) -> dict[str, Any]:
    return {"ledger": ledger.measure(Sizes(backlog=0) if options.no_backlog else Sizes(), _say)}


def _job(options: argparse.Namespace) -> dict[str, Any]:
    with rubato(ECHO) as local:
        _say(f"job: {job.LINES:,} lines from one file into another, in both orders")
        return {"job": job.measure(local)}


def _pool(options: argparse.Namespace) -> dict[str, Any]:
    _say(f"pool: {elastic.TASKS} tasks on machines that come and go, one of which is taken away")
    return {"pool": elastic.measure()}


MEASURES = {"realtime": _realtime, "background": _background, "job": _job, "pool": _pool, "ledger": _ledger}


def _machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
