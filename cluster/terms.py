"""What the operator has decided that a ledger goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agents.shelves import Shelves

from .retention import Retention
from .schedule import Policy


@dataclass(frozen=True, slots=True)
class Terms:
    """`policies` are those of the agents that are served, by name. `shelves` opens where artifacts are, and `owner` is
    whose they must be, or they are left alone. `shared`: another ledger may take the store while this one runs."""

    policies: Mapping[str, Policy] = field(default_factory=dict)
    retention: Retention = Retention()  # noqa: RUF009 - a NamedTuple
    shelves: Callable[[], Shelves] | None = None
    owner: str = ""
    shared: bool = False
