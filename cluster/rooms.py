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

    def take(self, shape: Resources, *, paid: bool = False) -> bool:
        """Put a worker there; False, and nothing has changed, where there is no room. `paid`: only on nodes that are
        always there."""
        size = self._size(shape)
        most = self.kind.min_nodes if paid else self.kind.max_nodes
        if size is None or self._used > most or not most:
            return False
        free = next((left for left in self._free if _holds(left, size)), None)
        if free is None:
            if self._used == most or not _holds(self._whole, size):
                return False
            self._used += 1
            free = self._whole
        else:
            self._free[free] -= 1
            self._free += Counter()  # forgets those of which none is left
        self._free[tuple(left - part for left, part in zip(free, size, strict=True))] += 1
        return True

    def paid_for(self, shape: Resources) -> bool:
        """Whether a worker would find room on nodes that are always there."""
        size = self._size(shape)
        if size is None or self._used > self.kind.min_nodes:
            return False
        return self._used < self.kind.min_nodes or any(_holds(left, size) for left in self._free)

    def _size(self, shape: Resources) -> Grains | None:
        asked = amounts(shape)
        if not asked.keys() <= set(self._names):
            return None
        return tuple(round(asked.get(name, 0.0) / GRAIN) for name in self._names)


def rooms(kinds: Iterable[NodeKind], there: Iterable[tuple[str, Resources]] = ()) -> Mapping[str, Room]:
    """By kind of node, with the workers that are there in their places."""
    made = {kind.name: Room(kind) for kind in kinds}
    for node, shape in there:
        if node in made:
            made[node].take(shape)
    return made


def _holds(left: Grains, size: Grains) -> bool:
    return all(part <= there for part, there in zip(size, left, strict=True))
