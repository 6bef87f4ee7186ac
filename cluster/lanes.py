"""Lanes: what a worker must be for a task, where not any that runs its agent will do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from agents import Resources

ANY = "any"  # market; the others are "spot" and "on_demand"
_NOTHING = Resources()
_NODES = {"spot": "a spot node", "on_demand": "an on-demand node"}


@dataclass(frozen=True, slots=True)
class Lane:
    """A worker on a node of this market, of this shape, with this version of the agent; each only where it is said."""

    market: str = ANY
    shape: Resources | None = None
    version: str = ""

    @property
    def text(self) -> str:
        """As a task has it: '' for a lane that asks for nothing. Equal lanes have equal texts."""
        parts: dict[str, Any] = {}
        if self.market != ANY:
            parts["market"] = self.market
        if self.shape is not None and (shape := said(self.shape)):
            parts["shape"] = shape
        if self.version:
            parts["version"] = self.version
        return json.dumps(parts, sort_keys=True, separators=(",", ":")) if parts else ""

    @staticmethod
    @lru_cache(1024)
    def parse(text: str) -> Lane:
        """What `text` says. What a newer Rubato may have asked of a shape, and this one does not know, is left out."""
        parts = json.loads(text) if text else {}
        known = {field.name for field in fields(Resources)}
        shape = {name: value for name, value in parts.get("shape", {}).items() if name in known}
        return Lane(parts.get("market", ANY), Resources(**shape) if shape else None, parts.get("version", ""))


def said(shape: Resources) -> dict[str, Any]:
    """What a shape asks for besides its market, as JSON has it: nothing of what it leaves open."""
    asked = ((field.name, getattr(shape, field.name)) for field in fields(shape) if field.name != "market")
    return {name: _plain(value) for name, value in asked if value != getattr(_NOTHING, name)}


@lru_cache(1024)
def words(text: str) -> str:
    """The lane for a reader, such as `gpus=1, an on-demand node`."""
    lane = Lane.parse(text)
    shape = {} if lane.shape is None else said(lane.shape)
    parts = [f"{name}={value}" for name, value in shape.items() if not isinstance(value, dict)]
    parts += [f"{name}={value}" for inner in shape.values() if isinstance(inner, dict) for name, value in inner.items()]
    parts += [_NODES.get(lane.market, lane.market)] if lane.market != ANY else []
    parts += [f"version {lane.version}"] if lane.version else []
    return ", ".join(parts) or "any worker"


@lru_cache(1024)
def of_version(text: str, version: str = "") -> str:
    """The same lane for workers with this version of the agent; '': with any."""
    parts: dict[str, Any] = json.loads(text) if text else {}
    parts.pop("version", None)
    if version:
        parts["version"] = version
    return json.dumps(parts, sort_keys=True, separators=(",", ":")) if parts else ""


def line(agent: str, lane: str) -> str:
    """Where the tasks of an agent wait that are in this lane; no agent has an @ in its name."""
    return f"{agent}@{lane}" if lane else agent


def of_versions(lines: Iterable[str]) -> tuple[str, ...]:
    """Those of these lines that are of a version of their agent."""
    return tuple(name for name in lines if Lane.parse(name.partition("@")[2]).version)


def lines_of(
    agent: str, shapes: Iterable[Resources | None] = (None,), market: str = "on_demand", version: str = ""
) -> tuple[str, ...]:
    """The lines that a worker takes an agent's tasks from, on a node of this market: of steps that ask for one of these
    shapes, and with None of runs that ask for none."""
    return tuple(
        dict.fromkeys(
            line(agent, Lane(of, shape, code).text)
            for shape in shapes
            for of in (ANY, market)
            for code in ("", version)
        )
    )


def _plain(value: Any) -> Any:
    """1 and 1.0 are one amount."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
