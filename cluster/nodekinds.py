"""Which kinds of nodes there are or can be, and which of them can hold a worker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from agents import Resources, RubatoError
from agents.resources import ACCELERATOR_LABEL, GRAIN, MARKET_LABEL, FrozenMap, selects

Market = Literal["spot", "on_demand"]  # of a node: one that may be taken away, or one that is not

GROUP_LABEL = "ray.io/node-group"  # the kind's name, on nodes that an autoscaler brings
ID_LABEL = "ray.io/node-id"
SPOT = "spot"  # the value of Ray's market label; a node with another, or with none, counts as on demand
MANY = 1_000_000  # nodes; no bound is known
OWN = ("node:", "object_store_memory", "accelerator_type:")  # what Ray adds to a node's resources by itself


class NoSuchNode(RubatoError):
    """No kind of node can ever hold what was asked for; the message lists the kinds, and what each lacks."""


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Nodes that are all alike.

    `resources` by Ray's names (CPU, GPU, memory in bytes, custom ones), `labels` as every such node has them; `price`
    in USD per hour, None where nobody said. Of them `min_nodes` are always there, and never more than `max_nodes`.
    """

    name: str
    resources: Mapping[str, float] = field(default_factory=FrozenMap)
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    price: float | None = None
    min_nodes: int = 0
    max_nodes: int = MANY

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", FrozenMap(sorted(self.resources.items())))
        object.__setattr__(self, "labels", FrozenMap(sorted(self.labels.items())))
        if not 0 <= self.min_nodes <= self.max_nodes:
            raise ValueError(f"node kind {self.name!r}: 0 <= min_nodes <= max_nodes")

    @property
    def market(self) -> Market:
        """Whether its nodes may be taken away."""
        return "spot" if self.labels.get(MARKET_LABEL) == SPOT else "on_demand"


class Node(Protocol):
    """A node that is there: what of it may be taken, and its labels."""

    @property
    def resources(self) -> Mapping[str, float]: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


def amounts(shape: Resources) -> dict[str, float]:
    """What the shape takes of a node, by Ray's names."""
    own = {"CPU": shape.cpus, "GPU": shape.gpus, "memory": shape.memory}
    return {name: float(amount) for name, amount in (own | dict(shape.custom)).items() if amount}


def misfit(shape: Resources, kind: NodeKind) -> str | None:
    """Why no node of the kind can hold the shape; None where one can."""
    for name, amount in amounts(shape).items():
        there = kind.resources.get(name, 0.0)
        if there < amount:
            return f"has {there:g} {name}" if there else f"has no {name}"
    if shape.market not in ("any", kind.market):
        return "is spot" if kind.market == "spot" else "is on demand"
    if shape.accelerator and kind.labels.get(ACCELERATOR_LABEL) != shape.accelerator:
        return f"has {ACCELERATOR_LABEL}={kind.labels.get(ACCELERATOR_LABEL, '')}"
    for label, selector in shape.labels.items():
        if not selects(selector, kind.labels.get(label)):
            return f"has {label}={kind.labels.get(label, '')}"
    return None if kind.max_nodes else "may have no nodes"


def fits(shape: Resources, kind: NodeKind) -> bool:
    """Whether a node of the kind can hold the shape, when there is nothing else on it."""
    return misfit(shape, kind) is None


def suitable(shape: Resources, kinds: Iterable[NodeKind]) -> list[NodeKind]:
    """The kinds that a worker of the shape may go to: none with GPUs for one without, as long as there are others."""
    holding = [kind for kind in kinds if fits(shape, kind)]
    without = [kind for kind in holding if not kind.resources.get("GPU")]
    return (without or holding) if not shape.gpus else holding


def room(shape: Resources, resources: Mapping[str, float]) -> int:
    """How many workers of the shape these resources hold; MANY of one that takes nothing."""
    parts = [(resources.get(name, 0.0) + GRAIN / 2) / amount for name, amount in amounts(shape).items()]
    return math.floor(min(parts, default=MANY))


def check_fit(whose: str, shape: Resources, kinds: Sequence[NodeKind]) -> None:
    """Raises NoSuchNode where no kind can ever hold the shape that `whose` work needs."""
    reasons = {kind.name: misfit(shape, kind) for kind in kinds}
    if kinds and all(reasons.values()):
        listed = ", ".join(f"{name} ({why})" for name, why in reasons.items())
        raise NoSuchNode(f"{whose} needs {asked(shape)}, and no kind of node can ever hold that: {listed}")


def asked(shape: Resources) -> str:
    """The shape in words, such as `1 CPU, 0.5 GPU on a spot node with zone=a`."""
    takes = [f"{amount:.10g} {name}" for name, amount in amounts(shape).items()]
    where = [f"{label}={value}" for label, value in _selector(shape).items()]
    node = {"any": "", "spot": "a spot node", "on_demand": "an on-demand node"}[shape.market]
    place = " with ".join(part for part in (node or ("a node" if where else ""), ", ".join(where)) if part)
    return (", ".join(takes) or "nothing of a node") + (f" on {place}" if place else "")


def selector(shape: Resources, kind: NodeKind | None = None) -> dict[str, str]:
    """The labels, as Ray's label selectors have them, by which a worker of the shape goes to nodes of the kind only;
    without one, to any node that the shape allows."""
    market = kind.market if kind else shape.market
    markets = {"any": {}, "spot": {MARKET_LABEL: SPOT}, "on_demand": {MARKET_LABEL: f"!{SPOT}"}}[market]
    return _selector(shape) | markets | dict(kind.labels if kind else {})


def there(nodes: Iterable[Node]) -> list[NodeKind]:
    """The nodes that are there as kinds of which there will never be more or fewer: nodes that are alike are one."""
    alike = Counter((_resources(node), _labels(node)) for node in nodes)
    return [
        NodeKind(f"here-{place}" if len(alike) > 1 else "here", resources, labels, None, count, count)
        for place, ((resources, labels), count) in enumerate(alike.items(), 1)
    ]


def kind_of(node: Node, kinds: Iterable[NodeKind]) -> NodeKind | None:
    """The kind that a node is of: by the name of its group, else the one that it has the most labels of."""
    group = node.labels.get(GROUP_LABEL)
    like = [kind for kind in kinds if kind.name == group or (group is None and _is_like(node, kind))]
    return max(like, key=lambda kind: len(kind.labels), default=None)


def known(kinds: Sequence[NodeKind], nodes: Iterable[Node]) -> list[NodeKind]:
    """All kinds: those that are set or that an autoscaler brings, and the nodes that are of none of them."""
    return [*kinds, *there(node for node in nodes if kind_of(node, kinds) is None)]


def priced(found: Sequence[NodeKind] | None, told: Sequence[NodeKind]) -> list[NodeKind]:
    """The kinds as an autoscaler has them, with the prices that somebody told by name; where there is none, or it says
    nothing, those that were told with their resources."""
    if found is None:
        return [kind for kind in told if kind.resources]
    prices = {kind.name: kind.price for kind in told}
    return [replace(kind, price=prices.get(kind.name, kind.price)) for kind in found]


def _is_like(node: Node, kind: NodeKind) -> bool:
    labels = all(node.labels.get(label) == value for label, value in kind.labels.items())
    return labels and all(node.resources.get(name, 0.0) >= amount for name, amount in kind.resources.items())


def _selector(shape: Resources) -> dict[str, str]:
    accelerator = {ACCELERATOR_LABEL: shape.accelerator} if shape.accelerator else {}
    return dict(shape.labels) | accelerator


def _resources(node: Node) -> FrozenMap[float]:
    return FrozenMap((name, amount) for name, amount in node.resources.items() if not name.startswith(OWN))


def _labels(node: Node) -> FrozenMap[str]:
    return FrozenMap((label, value) for label, value in node.labels.items() if label != ID_LABEL)
