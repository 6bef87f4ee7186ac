"""Kinds of workers: which agents share one, what it takes of a node, and how many of it there may be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from agents import Resources
from agents.catalog import Entry

from .callees import Callees, callees_of
from .shapes import name_of


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of worker: a resource shape, the agents that take it, and those that their runs may call.

    There are `least` to `most` of it. With `shapes` it is for steps that ask for one of these, with None among them for
    whole runs. `mark` tells its code and all that it declares from what workers of an earlier
    deploy have; `versions` are those of the agents whose tasks finish with the version that began them.
    """

    name: str
    references: tuple[str, ...]
    slots: dict[str, int]
    resources: Resources
    least: int
    most: int
    callees: Callees = field(default_factory=dict)
    shapes: tuple[Resources | None, ...] = (None,)
    mark: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What a worker says it is of; as part of an actor's name, without a colon."""
        return f"{self.name}.{self.mark}" if self.mark else self.name


def kinds(
    entries: Iterable[Entry], bounds: tuple[int, int], cpus: float | None = None, *, code: str = ""
) -> list[Kind]:
    """The kinds that these agents need: one for each resource shape, each within `bounds`.

    Where all that is ever there are `cpus`, and the kinds ask for more, each gets its share, but at least one; None:
    nodes come as they are needed. `code` tells the code that they run from any other.
    """
    shapes: dict[Resources, list[Entry]] = {}
    entries = list(entries)
    callees = callees_of(entry.agent for entry in entries)
    for entry in entries:
        if entry.agent.background is not None:
            shapes.setdefault(entry.agent.background.resources, []).append(entry)
    least, most = bounds
    asked = sum(shape.cpus for shape in shapes) * most
    if cpus is not None and asked > cpus:
        most = max(1, math.floor(most * cpus / asked))
    return [
        Kind(
            name_of(shape),
            tuple(entry.reference for entry in found),
            {entry.name: entry.agent.background.slots for entry in found if entry.agent.background},
            shape,
            min(least, most),
            most,
            callees,
            mark=_mark(code, found, callees),
            versions=versions_of(found),
        )
        for shape, found in shapes.items()
    ]


def for_step(home: Kind, agent: str, shape: Resources) -> Kind:
    """The kind that runs the steps of an agent which ask for this shape, where `home` has its runs."""
    references = dict(zip(home.slots, home.references, strict=True))
    return replace(
        home,
        name=f"{name_of(shape)}-{agent}",
        references=(references[agent],),
        slots={agent: home.slots[agent]},
        resources=shape,
        least=0,
        shapes=(shape,),
        versions={name: version for name, version in home.versions.items() if name == agent},
    )


def versions_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Of the agents whose tasks are to finish with the version that began them."""
    return {
        entry.name: entry.version
        for entry in entries
        if entry.agent.background is not None and entry.agent.background.upgrade == "finish"
    }


def _mark(code: str, entries: Iterable[Entry], callees: Callees) -> str:
    told = (code, [(entry.reference, entry.version, entry.agent.background) for entry in entries], callees)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:8]
