"""Which workers of an earlier version stay, and which tasks wait for a version in vain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .client import Demand
from .kinds import Kind
from .lanes import Lane, line

_NO_VERSIONS: Mapping[str, str] = {}
_NO_SLOTS: Mapping[str, int] = {}


class Serving(NamedTuple):
    """What a worker takes besides tasks that any may have: those that its versions of these agents began, from these
    lines. `old_for`: so many seconds ago it was first told that there is a newer version (0: there is none)."""

    versions: Mapping[str, str] = _NO_VERSIONS
    lines: tuple[str, ...] = ()
    slots: Mapping[str, int] = _NO_SLOTS
    old_for: float = 0.0


class Old(NamedTuple):
    """A worker of an earlier version that takes work yet."""

    id: str
    kind: str
    serving: Serving
    busy: int = 0


def staying(workers: Iterable[Old], demands: Iterable[Demand], most: float) -> dict[str, str]:
    """The workers to keep for tasks that their versions began, as many as these need, the busiest first; and why.

    One is kept for tasks that only wait, too: it cannot come back. None is for longer than `most` seconds.
    """
    kept: dict[str, str] = {}
    wanted = {line(each.agent, each.lane): each for each in demands if Lane.parse(each.lane).version}
    left = {
        name: (each.queued + each.running, each.queued + each.running + each.waiting) for name, each in wanted.items()
    }
    for worker in sorted(workers, key=lambda worker: (-worker.busy, worker.id)):
        serves = [name for name in worker.serving.lines if left.get(name, (0, 0))[1] > 0]
        if not serves or worker.serving.old_for > most:
            continue
        kept[worker.id] = _reason(wanted[name] for name in serves)
        for name in serves:
            due = left[name][0] - worker.serving.slots.get(wanted[name].agent, 1)
            left[name] = (due, due)
    return kept


def stranded(
    demands: Iterable[Demand], kinds: Iterable[Kind], current: Iterable[Serving], old: Iterable[Serving]
) -> list[Demand]:
    """The lanes with queued tasks whose version no worker has, nor will one that is started now. `current` are the
    workers of these kinds that take work, and `old` those that were kept of earlier ones."""
    told: dict[str, set[str]] = {}
    for serving in current:
        for agent in serving.slots:
            told.setdefault(agent, set()).update(filter(None, [serving.versions.get(agent)]))
    for kind in kinds:
        for agent, version in kind.versions.items():
            told.setdefault(agent, {version})  # until one has come that says what it has
    lines = {name for serving in old for name in serving.lines}
    return [
        each
        for each in demands
        if each.queued
        and (version := Lane.parse(each.lane).version)
        and version not in told.get(each.agent, ())
        and line(each.agent, each.lane) not in lines
    ]


def together(demands: Iterable[Demand]) -> Demand:
    """Several lanes as one: what they ask for in all."""
    first, *others = demands
    if not others:
        return first
    all = (first, *others)
    return first._replace(
        queued=sum(each.queued for each in all),
        running=sum(each.running for each in all),
        waiting=sum(each.waiting for each in all),
        oldest=max((each.oldest for each in all if each.oldest is not None), default=None),
        deadlines=tuple(sorted(deadline for each in all for deadline in each.deadlines)),
    )


def _reason(demands: Iterable[Demand]) -> str:
    """For whoever looks at the pool's status."""
    told = [
        f"{each.queued} queued, {each.running} running and {each.waiting} waiting of {each.agent}"
        f" go on with version {Lane.parse(each.lane).version}, which began them"
        for each in demands
    ]
    return "; ".join(told)
