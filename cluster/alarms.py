"""Moments at which something wants to be looked at again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
GRAIN = 20  # looks a second at most: a thousand moments that lie close cost one


class Alarms(Generic[K]):
    """At most one moment for each key, the earliest that was set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._set: dict[K, float] = {}
        self._entries = 0

    def set(self, key: K, at: float) -> None:
        """Look at the key at that moment, a little later rather than earlier."""
        at = math.ceil(at * GRAIN) / GRAIN if at < math.inf else at
        if at < self._set.get(key, math.inf):
            self._set[key] = at
            self._entries += 1
            heapq.heappush(self._heap, (at, self._entries, key))

    def next(self) -> float | None:
        """The earliest moment, None if there is none."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._set.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> Iterator[K]:
        """The keys whose moment has come; each is told once."""
        while (at := self.next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._set[key]
            yield key
