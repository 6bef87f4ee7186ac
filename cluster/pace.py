"""The clocks, the dice and the seconds that a worker goes by; tests bring their own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .claims import BEAT


@dataclass(frozen=True, slots=True)
class Pace:
    """`grace`: for a run to unwind, and no worker lives long with one that does not. `flush`: for the last reports
    of a worker that leaves. `parting`: before its node goes, in which what is not finished unwinds and is reported.
    `pause` and `longest_pause`: between tries while the ledger is unavailable."""

    grace: float = 5.0
    flush: float = 10.0
    parting: float = 4.0
    beat: float = BEAT
    pause: float = 0.05
    longest_pause: float = 1.0
    clock: Callable[[], float] = time.monotonic  # for leases and timeouts
    now: Callable[[], float] = time.time  # for what is stored
    roll: Callable[[], float] = random.random

    def pauses(self) -> Iterator[float]:
        """How long to wait before each further try."""
        pause = self.pause
        while True:
            yield pause
            pause = min(2 * pause, self.longest_pause)
