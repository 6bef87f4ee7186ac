"""Runs schedules: `python -m tests.simulation STORE FIRST COUNT [--trace]`. Says which seed breaks a promise."""

from __future__ import annotations

import gc
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .disks import Disk, MemoryDisk, SqliteDisk
from .schedule import Schedule
from .trouble import Trouble

SHARED = Path("/dev/shm")


def main(store: str, first: int, count: int, *, trace: bool) -> int:
    """Exit code 1 at the first seed that breaks a promise."""
    logging.disable(logging.CRITICAL)
    gc.disable()
    began, steps, commits = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as folder:
        makers: dict[str, Callable[[Trouble], Disk]] = {
            "memory": MemoryDisk,
            "sqlite": lambda trouble: SqliteDisk(trouble, Path(folder)),
        }
        for seed in range(first, first + count):
            schedule = Schedule(seed, makers[store])
            try:
                schedule.run()
            except BaseException as error:
                print("\n".join(schedule.world.story()[-10_000 if trace else -60 :]))
                print(f"seed {seed} of {store}: {error!r}")
                if not isinstance(error, AssertionError):
                    raise
                return 1
            if trace:
                print("\n".join(schedule.world.story()))
            steps += schedule.world.loop.steps
            commits += schedule.world.oracle.commits
            if seed % 50 == 0:
                gc.collect()
    seconds = time.monotonic() - began
    print(f"{store}: {count} schedules from seed {first}, {steps} steps, {commits} commits, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    store, first, count, *options = sys.argv[1:]
    sys.exit(main(store, int(first), int(count), trace="--trace" in options))
