"""What a replica or a worker takes of a node, and which nodes it may go to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, NoReturn, TypeVar, get_args

Market = Literal["any", "spot", "on_demand"]

GRAIN = 0.0001  # the least of a resource that Ray counts
MARKET_LABEL = "ray.io/market-type"
ACCELERATOR_LABEL = "ray.io/accelerator-type"
# What has a field of its own, or is Ray's.
OWN_FIELD = {"CPU": "cpus", "GPU": "gpus", "memory": "memory", MARKET_LABEL: "market", ACCELERATOR_LABEL: "accelerator"}
OF_RAY = re.compile(r"object_store_memory|node:.*|accelerator_type:.*|.*_group_.*")

# Labels have the syntax of Kubernetes'; a selector asks for a value, for one of several, or for another than these.
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
LABEL = re.compile(rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?/)?{_WORD}")
VALUE = re.compile(_WORD)
SELECTOR = re.compile(rf"(!?)(?:({_WORD})|in\(({_WORD}(?:, ?{_WORD})*)\))")

V = TypeVar("V")


class FrozenMap(dict[str, V]):
    """A mapping that cannot change, so that a record that has one can be a key; JSON writes it as any other."""

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none since it may change; this one may not
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenMap[V]], tuple[dict[str, V]]]:
        return FrozenMap, (dict(self),)

    def _cannot_change(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping cannot change; make a new record")

    __setitem__ = __delitem__ = __ior__ = _cannot_change
    clear = pop = popitem = setdefault = update = _cannot_change


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica or worker takes of a node, and which nodes it may go to.

    `cpus` and `gpus` are logical: Ray counts them, and cores may be shared or idle; a part of a GPU, or whole ones.
    `memory` is in bytes (0: not counted). `accelerator` is the type of its GPU or other device, as nodes have it in
    their label `ray.io/accelerator-type`, such as "A100". `custom` are amounts of resources that nodes declare by
    name. `labels` are those that a node must have, each as Ray's label selectors have it: "a", "!a", "in(a, b)" or
    "!in(a, b)". `market` is the kind of node: "spot" for one that may be taken away, "on_demand" for one that is not,
    "any" for spot as long as there is time for it.
    """

    cpus: float = 0
    gpus: float = 0
    memory: int = 0
    accelerator: str = ""
    custom: Mapping[str, float] = field(default_factory=FrozenMap)
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    market: Market = "any"

    def __post_init__(self) -> None:
        problem = next(iter(_problems(self)), None)
        if problem is not None:
            raise ValueError(f"resources: {problem}")
        object.__setattr__(self, "custom", FrozenMap(sorted(self.custom.items())))
        object.__setattr__(self, "labels", FrozenMap(sorted(self.labels.items())))


def covers(there: Resources, asked: Resources) -> bool:
    """Whether whoever takes `there` has all that is asked for: as much of everything, on such a node."""
    amounts = (there.cpus >= asked.cpus, there.gpus >= asked.gpus, there.memory >= asked.memory)
    custom = all(there.custom.get(name, 0) >= amount for name, amount in asked.custom.items())
    node = asked.market in ("any", there.market) and asked.accelerator in ("", there.accelerator)
    return all(amounts) and custom and node and asked.labels.items() <= there.labels.items()


def selects(selector: str, value: str | None) -> bool:
    """Whether a node that has this value of a label (None: it has none) is one that the selector asks for."""
    asked = SELECTOR.fullmatch(selector)
    if asked is None:
        return False
    no, one, several = asked.groups()
    among = value in ([one] if one else re.split(", ?", several))
    return among is not bool(no)


def _problems(asked: Resources) -> Iterable[str]:
    amounts = {"cpus": asked.cpus, "gpus": asked.gpus, "memory": asked.memory}
    yield from (f"{name} must be a number, not negative and finite" for name, it in amounts.items() if not _amount(it))
    yield from (f"{name} must be 0, or {GRAIN} at least" for name in ("cpus", "gpus") if 0 < amounts[name] < GRAIN)
    if asked.gpus > 1 and asked.gpus != int(asked.gpus):
        yield "gpus must be a part of one, or whole ones"
    if asked.memory != int(asked.memory):
        yield "memory must be whole bytes"
    if not (isinstance(asked.accelerator, str) and (not asked.accelerator or VALUE.fullmatch(asked.accelerator))):
        yield f"accelerator {asked.accelerator!r} is not a type such as 'A100'"
    if asked.market not in get_args(Market):
        yield f"market must be one of {', '.join(get_args(Market))}"
    yield from _of_mapping("custom", asked.custom, lambda name: bool(name) and not OF_RAY.fullmatch(name), _part)
    yield from _of_mapping("labels", asked.labels, LABEL.fullmatch, SELECTOR.fullmatch)


def _of_mapping(
    field: str, mapping: Any, named: Callable[[str], object], holds: Callable[[Any], object]
) -> Iterable[str]:
    what = {"custom": f"an amount, of {GRAIN} at least", "labels": "a selector such as 'a', '!a' or 'in(a, b)'"}[field]
    if not isinstance(mapping, Mapping):
        yield f"{field} must be a mapping, such as {{'name': {'1' if field == 'custom' else repr('value')}}}"
        return
    for name, value in mapping.items():
        if name in OWN_FIELD:
            yield f"{field} cannot hold {name!r}, which has a field of its own: {OWN_FIELD[name]}"
        elif not (isinstance(name, str) and named(name)):
            yield f"{field} cannot hold {name!r}: it is Ray's own, or no name"
        elif not (isinstance(value, str if field == "labels" else (int, float)) and holds(value)):
            yield f"{field}[{name!r}] is {value!r}, and must be {what}"


def _amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < inf


def _part(value: float) -> bool:
    return GRAIN <= value < inf
