"""What a worker holds and which of its calls are under way, as one consistent picture for the heartbeat's thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import NamedTuple

from .claims import Claim, Held

_NOTHING: Mapping[Held, float] = {}


def held_as(claim: Claim) -> Held:
    """What a claim is called in reports and heartbeats."""
    return claim.task.tenant, claim.task.id, claim.task.fence


class Picture(NamedTuple):
    """One moment: the newest call, the calls without an answer, and the claims held with the moments they time out."""

    latest: int
    open: tuple[int, ...]
    held: tuple[Held, ...]
    ends: tuple[float, ...]


class Calls:
    """Numbers the worker's calls and keeps what they brought.

    A call ends and its claims are held in one move: a picture that shows neither would have the ledger take back
    claims that did arrive.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._latest = 0
        self._open: dict[int, float] = {}  # and when it was made
        self._held: dict[Held, float] = {}

    def begin(self) -> int:
        """The number of the call that is made now."""
        with self._lock:
            self._latest += 1
            self._open[self._latest] = self._clock()
            return self._latest

    def end(self, call: int, arrived: Mapping[Held, float] = _NOTHING) -> float:
        """The call was answered, with these claims and when each times out; or it failed, and brings nothing more.
        Says when it was made."""
        with self._lock:
            self._held.update(arrived)
            return self._open.pop(call, -math.inf)

    def drop(self, held: Iterable[Held]) -> None:
        """These claims are settled or lost."""
        with self._lock:
            for claim in held:
                self._held.pop(claim, None)

    def look(self) -> Picture:
        """The picture of this moment."""
        with self._lock:
            return Picture(self._latest, tuple(self._open), tuple(self._held), tuple(self._held.values()))
