"""How many workers nodes have room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from agents import Resources
from agents.resources import GRAIN

from .nodekinds import NodeKind, amounts

Grains = tuple[int, ...]  # of each resource of the kind, in the parts that Ray counts


class Room:
    """What is free on nodes of one kind, as many as there may be; workers fill a node before they open another."""

    def __init__(self, kind: NodeKind) -> None:
        self.kind = kind
        self._names = sorted(kind.resources)
        self._whole: Grains = tuple(round(kind.resources[name] / GRAIN) for name in self._names)
        self._free: Counter[Grains] = Counter()  # nodes in use, by what is left of them
        self._used = 0
        self._sizes: dict[Resources, Grains | None] = {}
        self._full: set[tuple[Resources, bool]] = set()  # for whom there is no room; nobody gives any back

    def take(self, shape: Resources, *, paid: bool = False) -> bool:
        """Put a worker there; False, and nothing has changed, where there is no room. `paid`: only on nodes that are
        always there."""
        if (shape, paid) in self._full:
            return False
        size = self._size(shape)
        free = None if size is None else self._place(size, self.kind.min_nodes if paid else self.kind.max_nodes)
        if size is None or free is None:
            self._full.add((shape, paid))
            return False
        self._free[tuple(left - part for left, part in zip(free, size, strict=True))] += 1
        return True

    def _place(self, size: Grains, most: int) -> Grains | None:
        """What is left of the node that has room, which is in use from now on; of at most so many."""
        if self._used > most or not most:
            return None
        free = next((left for left in self._free if _holds(left, size)), None)
        if free is not None:
            self._free[free] -= 1
            if not self._free[free]:
                del self._free[free]
            return free
        if self._used == most or not _holds(self._whole, size):
            return None
        self._used += 1
        return self._whole

    def paid_for(self, shape: Resources) -> bool:
        """Whether a worker would find room on nodes that are always there."""
        size = self._size(shape)
        if size is None or self._used > self.kind.min_nodes:
            return False
        return self._used < self.kind.min_nodes or any(_holds(left, size) for left in self._free)

    def _size(self, shape: Resources) -> Grains | None:
        if shape not in self._sizes:
            asked = amounts(shape)
            holds = asked.keys() <= set(self._names)
            grains = tuple(round(asked.get(name, 0.0) / GRAIN) for name in self._names)
            self._sizes[shape] = grains if holds else None
        return self._sizes[shape]


def rooms(kinds: Iterable[NodeKind], there: Iterable[tuple[str, Resources]] = ()) -> Mapping[str, Room]:
    """By kind of node, with the workers that are there in their places."""
    made = {kind.name: Room(kind) for kind in kinds}
    for node, shape in there:
        if node in made:
            made[node].take(shape)
    return made


def _holds(left: Grains, size: Grains) -> bool:
    return all(part <= there for part, there in zip(size, left, strict=True))
