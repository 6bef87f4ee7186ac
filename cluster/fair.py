"""Whose turn it is: each limit key gets its share of the claims, by weight, however much it has waiting.

Stride scheduling (Waldspurger and Weihl, 1995). Each key has a pass; the lowest is served next, and being served raises
it by 1 / weight. Of k keys of equal weight that always have something waiting, each is served once in every k turns. A
key that comes anew starts where the others are: it gets no credit for the time it had nothing.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")


class Turns(Generic[K]):
    """The keys that have something to be served."""

    def __init__(self) -> None:
        self._passes: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._joined: dict[K, int] = {}  # the entry of the heap that counts
        self._entries = 0
        self._now = 0.0  # the pass of the last turn
        self._alone: K | None = None  # the only key, if its entry in the heap is behind its pass

    def __contains__(self, key: K) -> bool:
        return key in self._joined

    def __len__(self) -> int:
        return len(self._joined)

    def join(self, key: K) -> None:
        """The key has something to be served; nothing changes if it had before."""
        if key not in self._joined:
            if self._alone is not None:
                self._catch_up(self._alone)
            self._push(key, max(self._passes.get(key, 0.0), self._now))

    def leave(self, key: K) -> None:
        """It has nothing any more, or may not be served now."""
        self._joined.pop(key, None)
        if key == self._alone:
            self._alone = None
        if self._passes.get(key, 0.0) <= self._now:
            self._passes.pop(key, None)  # it would start there anyway

    def next(self) -> K | None:
        """Whose turn it is, None if nobody waits."""
        while self._heap:
            _, entry, key = self._heap[0]
            if self._joined.get(key) == entry:
                return key
            heapq.heappop(self._heap)
        return None

    def serve(self, key: K, weight: float = 1.0) -> None:
        """The key has had a turn."""
        at = self._passes.get(key, self._now)
        self._now = max(self._now, at)
        self._passes[key] = at + 1.0 / weight
        if key in self._joined:
            if len(self._joined) == 1:  # nobody to compare it with: the heap can wait
                self._alone = key
            else:
                self._push(key, at + 1.0 / weight)

    def _catch_up(self, key: K) -> None:
        self._alone = None
        self._push(key, self._passes[key])

    def _push(self, key: K, at: float) -> None:
        self._entries += 1
        self._passes[key] = at
        self._joined[key] = self._entries
        heapq.heappush(self._heap, (at, self._entries, key))
