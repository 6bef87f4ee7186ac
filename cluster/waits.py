"""What a task waits for, as it is stored, and what becomes of it when something happens.

A JSON object: `until` is a moment, `signals` lists names, `children` says of each group of calls how many must still
end. Whatever comes first wakes the task. One whose next step needs another worker waits in the queue for that `worker`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Waits(NamedTuple):
    """The waits of a run whose every branch waits."""

    until: float | None = None
    signals: tuple[str, ...] = ()
    children: tuple[tuple[str, int], ...] = ()  # group, and how many of its children must end first
    worker: str = ""  # in words


def write(waits: Waits) -> str:
    """As it is stored."""
    parts: dict[str, Any] = {}
    if waits.until is not None:
        parts["until"] = waits.until
    if waits.signals:
        parts["signals"] = list(waits.signals)
    if waits.children:
        parts["children"] = dict(waits.children)
    if waits.worker:
        parts["worker"] = waits.worker
    return json.dumps(parts)


def read(stored: str) -> Waits:
    """What `write` wrote."""
    parts = json.loads(stored)
    return Waits(parts.get("until"), tuple(parts.get("signals", ())), tuple(parts.get("children", {}).items()))


def joined(all: Iterable[Waits]) -> Waits:
    """The waits of several branches as one: what wakes any of them wakes the run."""
    found = list(all)
    moments = [waits.until for waits in found if waits.until is not None]
    signals = dict.fromkeys(name for waits in found for name in waits.signals)
    children: Mapping[str, int] = {group: left for waits in found for group, left in waits.children}
    return Waits(min(moments, default=None), tuple(signals), tuple(children.items()))


def after_child(waits: Waits, group: str) -> tuple[Waits, bool]:
    """One more child of the group has ended: what is still waited for, and whether that wakes the task."""
    left = {name: number - (name == group) for name, number in waits.children}
    return waits._replace(children=tuple(left.items())), left.get(group, 1) <= 0
