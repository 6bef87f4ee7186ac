"""Whose turn it is: each limit key gets its share of the claims, by weight, however much it has waiting.

Stride scheduling (Waldspurger and Weihl, 1995). Each key has a pass; the lowest is served next, and being served raises
it by 1 / weight. Of k keys of equal weight that always have something waiting, each is served once in every k turns. A
key that comes anew starts where the others are: it gets no credit for the time it had nothing. One that comes back
starts where it was, if it was ahead of them and is among the last that ended.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Generic, TypeVar

ENDED = 1024  # keys that have nothing, of which it is known how far they were
SPARE = 64  # entries of the heap that may be out of date, beside as many as count

K = TypeVar("K")


class Turns(Generic[K]):
    """The keys that have something to be served."""

    def __init__(self) -> None:
        self._passes: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._ended: OrderedDict[K, float] = OrderedDict()  # passes of keys that have nothing
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
            self._push(key, max(self._passes.get(key) or self._ended.pop(key, 0.0), self._now))

    def leave(self, key: K) -> None:
        """It may not be served now."""
        self._joined.pop(key, None)
        if key == self._alone:
            self._alone = None
        if self._passes.get(key, 0.0) <= self._now:
            self._passes.pop(key, None)  # it would start there anyway

    def end(self, key: K) -> None:
        """It has nothing any more."""
        self.leave(key)
        if key in self._passes:
            self._ended[key] = self._passes.pop(key)
            if len(self._ended) > ENDED:
                self._ended.popitem(last=False)

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
        if len(self._heap) > 2 * len(self._joined) + SPARE:
            self._heap = [entry for entry in self._heap if self._joined.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (at, self._entries, key))
