"""Runs schedules: `python -m tests.simulation STORE SEED [COUNT]`; says which seed breaks a promise, and how."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .cuts import CutDisk
from .disks import Disk, MemoryDisk, SqliteDisk
from .sabotage import SABOTAGE
from .schedule import Schedule
from .servers import PostgresDisk
from .trouble import Trouble

FAST = Path("/dev/shm")  # nothing here dies in a way that loses what was not synced, so no disk is needed
STEPS = range(100, 200)
LINES = 80  # of the story that a broken promise comes with
MakeDisk = Callable[[Trouble], Disk]


def makers(folder: Path, url: str = "") -> dict[str, MakeDisk]:
    return {
        "memory": MemoryDisk,
        "sqlite": lambda trouble: SqliteDisk(trouble, folder),
        "cuts": lambda trouble: CutDisk(trouble, folder),
        "postgres": lambda trouble: PostgresDisk(trouble, url),
    }


def run(seed: int, make: MakeDisk, *, dies_at: int = -1) -> Schedule:
    """One schedule; prints its end where it breaks a promise, and raises AssertionError."""
    schedule = Schedule(seed, make, dies_at=dies_at)
    try:
        schedule.run()
    except BaseException as error:
        print("\n".join(schedule.world.story()[-LINES:]))
        at = f", with its ledger killed at its step {dies_at}" if dies_at >= 0 else ""
        print(f"seed {seed}{at}: {error!r}")
        raise
    return schedule


def each_step(seed: int, make: MakeDisk) -> int:
    """A schedule once for each step of its first ledger, which is killed there; how many there were.

    It is the first from this seed on that is neither too short to be of interest nor too long to be done so often.
    """
    while (steps := run(seed, make).world.ledger_steps) not in STEPS:
        seed += 1
    for step in range(1, steps + 1):
        run(seed, make, dies_at=step)
    return steps


def main() -> None:
    options = _options()
    logging.disable(logging.CRITICAL)
    gc.disable()  # schedules leave cycles, and are many: collected now and then, and at no moment that would matter
    if options.sabotage:
        SABOTAGE[options.sabotage](setattr)
    began, steps, commits = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None) as folder:
        make = makers(Path(folder), options.url)[options.store]
        for seed in range(options.seed, options.seed + options.count):
            if options.each_step:
                print(f"{each_step(seed, make)} steps of a ledger, which was killed at each")
                continue
            schedule = run(seed, make)
            steps += schedule.world.loop.steps
            commits += schedule.world.oracle.commits
            if options.trace:
                print("\n".join(schedule.world.story()))
            if seed % 50 == 0:
                gc.collect()
    took = "" if options.trace else f", {time.monotonic() - began:.1f} s"
    print(
        f"{options.store}: {options.count} schedules from seed {options.seed}, {steps} steps, {commits} commits{took}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("store", choices=list(makers(Path())))
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--url", default="", help="of a PostgreSQL database that may be emptied")
    parser.add_argument("--trace", action="store_true", help="tell the whole story")
    parser.add_argument("--each-step", action="store_true", help="kill the ledger at each of its steps in turn")
    parser.add_argument("--sabotage", choices=list(SABOTAGE), help="break something first, to see it found")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except AssertionError:
        sys.exit(1)
