"""One process at a time, on one machine: the lock beside a file."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import TextIO

from .errors import StoreProblem


def lock(path: Path, wait: float) -> TextIO:
    """The lock beside a store, held until it is closed or this process ends, however it ends. Raises StoreProblem."""
    ends = time.monotonic() + wait
    held = open(f"{path}.lock", "a+")  # noqa: SIM115 - as above
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return held
        except OSError:
            if time.monotonic() > ends:
                held.close()
                raise StoreProblem(f"another ledger has {path} open; `./rubato down` ends it") from None
            time.sleep(0.05)
