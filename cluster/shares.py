"""How many workers each kind gets where there is not room, or leave, for all that are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agents import Resources

from .nodekinds import NodeKind, room, suitable
from .rooms import Room, rooms
from .situation import Rules

STARVED = 60.0  # seconds; a kind whose oldest task has waited for so much longer than another's chooses before it

Part = Literal["on_demand", "spot", "anywhere", "spare"]


class Nodes(NamedTuple):
    """The kinds of nodes that a worker kind may use, those first that it should use first."""

    spot: tuple[NodeKind, ...]
    on_demand: tuple[NodeKind, ...]
    spot_first: bool  # whether what may run anywhere is better off on spot

    @classmethod
    def of(cls, shape: Resources, kinds: Sequence[NodeKind]) -> Nodes:
        """Those that can hold the shape, by the price of a worker; what nobody priced comes last, in its order."""
        usable = sorted(suitable(shape, kinds), key=lambda kind: (kind.price is None, _price(shape, kind)))
        spot = tuple(kind for kind in usable if kind.market == "spot")
        on_demand = tuple(kind for kind in usable if kind.market == "on_demand")
        priced = [[kind for kind in kinds if kind.price is not None] for kinds in (spot, on_demand)]
        dearer = all(priced) and _price(shape, priced[0][0]) >= _price(shape, priced[1][0])
        return cls(spot, on_demand, bool(spot) and not dearer)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a kind would have: workers that must be on demand, that must be spot, and that may be either.

    `spare` are those that are not needed now but were lately: they may stay, and none is started for them.
    """

    kind: str
    shape: Resources
    nodes: Nodes
    on_demand: int
    spot: int
    anywhere: int
    spare: int
    oldest: float = 0.0


@dataclass(slots=True)
class Share:
    """What a kind gets of its wish. `settled` of `anywhere` are on demand by choice: on nodes that are there anyway, or
    because spot is not cheaper."""

    on_demand: int = 0
    spot: int = 0
    anywhere: int = 0
    settled: int = 0
    spare: int = 0

    @property
    def needed(self) -> int:
        """All but the spare."""
        return self.on_demand + self.spot + self.anywhere


@dataclass(slots=True)
class _Turn:
    wish: Wish
    share: Share
    left: list[Part]


class _Place(NamedTuple):
    kinds: Sequence[NodeKind]
    paid: bool = False  # only on those of their nodes that are always there
    settled: bool = False


def shares(wishes: Sequence[Wish], kinds: Sequence[NodeKind], rules: Rules) -> dict[str, Share]:
    """One worker for each kind in turn, as long as there is room and leave; then, likewise, the spare ones."""
    room_on = rooms(kinds)
    turns = [_Turn(wish, Share(), []) for wish in wishes]
    turns.sort(key=lambda turn: (-(turn.wish.oldest // STARVED), turn.wish.kind))
    left = rules.most
    for parts in (_needed, _spare):
        for turn in turns:
            turn.left = parts(turn.wish)
        left = _in_turn(turns, room_on, left)
    return {turn.wish.kind: turn.share for turn in turns}


def _needed(wish: Wish) -> list[Part]:
    parts: list[tuple[Part, int]] = [("on_demand", wish.on_demand), ("spot", wish.spot), ("anywhere", wish.anywhere)]
    return [part for part, count in parts for _ in range(count)]


def _spare(wish: Wish) -> list[Part]:
    return ["spare"] * wish.spare


def _in_turn(turns: Sequence[_Turn], room_on: Mapping[str, Room], left: int) -> int:
    """Gives out up to `left` workers; what is left of these."""
    waiting = [turn for turn in turns if turn.left]
    while waiting and left:
        for turn in waiting[:left]:
            part = turn.left.pop(0)
            if _give(turn, part, room_on):
                left -= 1
            else:
                turn.left = [other for other in turn.left if other != part]
        waiting = [turn for turn in waiting if turn.left]
    return left


def _give(turn: _Turn, part: Part, room_on: Mapping[str, Room]) -> bool:
    for place in _places(part, turn.wish.nodes):
        if any(room_on[kind.name].take(turn.wish.shape, paid=place.paid) for kind in place.kinds):
            setattr(turn.share, part, getattr(turn.share, part) + 1)
            turn.share.settled += place.settled and part == "anywhere"
            return True
    return False


def _places(part: Part, nodes: Nodes) -> list[_Place]:
    """Where a worker may go, the best first."""
    if part == "on_demand":
        return [_Place(nodes.on_demand)]
    if part == "spot":
        return [_Place(nodes.spot)]
    anywhere = (
        [_Place((*nodes.spot, *nodes.on_demand))]
        if nodes.spot_first
        else [_Place(nodes.on_demand, settled=True), _Place(nodes.spot)]
    )
    return [_Place(nodes.on_demand, paid=True, settled=True), *anywhere]


def _price(shape: Resources, kind: NodeKind) -> float:
    return (kind.price or 0.0) / room(shape, kind.resources)
