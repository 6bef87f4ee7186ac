"""What a worker holds and which of its calls are under way, as one consistent picture for the heartbeat's thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock

from .claims import Claim, Held, Picture

_NOTHING: Mapping[Held, float] = {}


def held_as(claim: Claim) -> Held:
    """What a claim is called in reports and heartbeats."""
    return claim.task.tenant, claim.task.id, claim.task.fence


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
        self._book = ""  # that the ledger last told of ...
        self._before = 0  # ... and the newest call then: those up to here may bring what an older book handed over

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

    def hear(self, book: str) -> None:
        """The ledger goes by this book."""
        with self._lock:
            if book != self._book:
                self._book, self._before = book, self._latest

    def look(self) -> Picture:
        """The picture of this moment."""
        with self._lock:
            since = all(call > self._before for call in self._open)
            return Picture(self._latest, tuple(self._open), tuple(self._held), self._book if since else "")

    def ends(self) -> tuple[float, ...]:
        """When the claims held time out."""
        with self._lock:
            return tuple(self._held.values())
