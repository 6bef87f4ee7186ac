"""What the operator decides about workers: how many there may be, for how long, and on which kinds of nodes."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from agents.resources import LABEL, MARKET_LABEL, VALUE
from cluster.nodekinds import MANY, SPOT, NodeKind

from .tables import Table

MIB = 1024 * 1024
MOST = 1024  # workers of a kind
AN_HOUR = 3600.0  # seconds


def _is_label(name: str) -> str:
    if not LABEL.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of a label")
    return name


def _is_value(value: str) -> str:
    if not VALUE.fullmatch(value):
        raise ValueError(f"{value!r} is not a value of a label")
    return value


class KindTable(Table):
    """One kind of nodes that the cluster has or may bring.

    `resources` by Ray's names (CPU, GPU, memory in bytes, custom ones) and `labels` as each such node has them; `price`
    in USD per hour. Where an autoscaler says what its nodes of this name are, only the price is taken from here.
    """

    resources: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    labels: dict[Annotated[str, AfterValidator(_is_label)], Annotated[str, AfterValidator(_is_value)]] = Field(
        default_factory=dict
    )
    market: Literal["spot", "on_demand"] | None = None
    price: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_nodes: int = Field(MANY, ge=0, le=MANY)

    @model_validator(mode="after")
    def _has_one_market(self) -> KindTable:
        labelled = self.labels.get(MARKET_LABEL)
        if labelled is not None and self.market is not None and (labelled == SPOT) != (self.market == "spot"):
            raise ValueError(f"market is {self.market!r}, and the label {MARKET_LABEL} is {labelled!r}")
        return self

    def kind(self, name: str) -> NodeKind:
        """The same as the pool has it."""
        spot = {MARKET_LABEL: SPOT} if self.market == "spot" else {}
        return NodeKind(name, self.resources, spot | self.labels, self.price, 0, self.max_nodes)


class PoolTable(Table):
    """The workers that run background tasks.

    Of each kind there are `min` to `max`, and `total` of all; where nodes neither come nor go, as on one machine, both
    are `workers` unless they are set. A worker that is not needed stays `idle` seconds more, and a node is waited for
    `spot_patience` seconds before another is asked for. Workers of an earlier version stay at most `old_versions`
    seconds for tasks that are to finish with it.
    """

    workers: int = Field(default_factory=lambda: min(2, os.cpu_count() or 1), ge=1, le=MOST)
    min: int | None = Field(None, ge=0, le=MOST)
    max: int | None = Field(None, ge=1, le=MOST)
    total: int = Field(MOST, ge=1, le=MOST)
    idle: float = Field(60.0, ge=1, le=24 * AN_HOUR)
    spot_patience: float = Field(60.0, ge=1, le=AN_HOUR)
    old_versions: float = Field(AN_HOUR, ge=0, le=366 * 24 * AN_HOUR)
    kinds: dict[str, KindTable] = Field(default_factory=dict)
    result_bytes: int = Field(MIB, ge=1, le=16 * MIB)  # of what a run records at once; all of a task travels together

    @field_validator("kinds")
    @classmethod
    def _are_names(cls, kinds: dict[str, KindTable]) -> dict[str, KindTable]:
        for name in kinds:
            if not VALUE.fullmatch(name):
                raise ValueError(f"{name!r} is not a name of a kind of nodes: it must match {VALUE.pattern}")
        return kinds

    @model_validator(mode="after")
    def _bounds_hold(self) -> PoolTable:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min}, and max is {self.max}: at least min must be allowed")
        return self

    def bounds(self, *, elastic: bool) -> tuple[int, int]:
        """Between how many workers of each kind there are, where nodes come and go (`elastic`) or where they do not."""
        least = self.min if self.min is not None else (0 if elastic else min(self.workers, self.max or MOST))
        most = self.max if self.max is not None else (MOST if elastic else self.workers)
        return least, max(least, most)

    def node_kinds(self) -> list[NodeKind]:
        """The kinds that are set."""
        return [table.kind(name) for name, table in self.kinds.items()]
