"""What is asked for beside what runs: the difference, in words and as what is to be done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agents.catalog import Catalog
from cluster.places import without_password

from .codemark import agent_marks, in_background
from .state import Running
from .up import Order

FIXED = frozenset({"serve.host", "serve.port", "serve.dashboard", "store.url", "artifacts.url"})
"""Settings that are decided by `up`, once and for all that runs."""

UNFINISHED = "unfinished"  # the code of what a deploy that did not end has left

STAYS = "  (only by `down` and `up`)"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a deploy has to do. Agents by name; `settings` has a line for each that is another."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()  # those that a deploy cannot change
    code: bool = False  # what everything runs is another
    why: str = ""  # and what of it
    ledger: bool = False  # another one has to go on ...
    pool: bool = False  # ... and likewise

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.settings or self.fixed or self.code)

    @property
    def lines(self) -> list[str]:
        """What a person is shown."""
        why = f" ({self.why})" if self.code else ""
        return [
            *(f"+ {name}" for name in self.added),
            *(f"~ {name}{why}" for name in self.changed),
            *(f"- {name}" for name in self.removed),
            *self.settings,
            *(f"{line}{STAYS}" for line in self.fixed),
        ]


def changes(record: Running, order: Order, catalog: Catalog) -> Changes:
    """What `order`, with its agents in `catalog`, asks for beyond what `record` says that runs."""
    marks, why = agent_marks(catalog), _why(record, order)
    code, there = bool(why), record.agents.keys()
    others = {name for name in marks.keys() & there if code or marks[name] != record.marks.get(name)}
    found, secrets = dict(_settings(record, order)), tuple(_secrets(record, order))
    tables = {name.partition(".")[0] for name in found}
    work = code or any(
        in_background(marks.get(it)) != in_background(record.marks.get(it)) for it in marks | record.marks
    )
    return Changes(
        added=tuple(sorted(marks.keys() - there)),
        changed=tuple(sorted(others)),
        removed=tuple(sorted(there - marks.keys())),
        settings=(*(line for name, line in found.items() if name not in FIXED), *secrets),
        fixed=tuple(line for name, line in found.items() if name in FIXED),
        code=code,
        why=why,
        ledger=work or "retention" in tables,
        pool=work or bool(secrets) or not tables.isdisjoint(("pool", "runtime")),
    )


def _why(record: Running, order: Order) -> str:
    """What of all that runs is another, '' for nothing."""
    if record.code == UNFINISHED:
        return "the deploy before did not end"
    if order.code != record.code:
        return "the code is another"
    return "its environment is another" if order.carried.around != record.runtime else ""


def _secrets(record: Running, order: Order) -> Iterator[str]:
    """Those that have another value, of which nothing is said."""
    for name, digest in order.carried.digests.items():
        if record.secrets.get(name, digest) != digest:
            yield f"runtime.secrets: {name} has another value"


def difference(record: Running, order: Order) -> list[str]:
    """The same without loading an agent, a line for each thing: those that run are known by their classes."""
    asked, there = set(order.references), set(record.agents.values())
    lines = [f"+ {reference}" for reference in sorted(asked - there)]
    lines += [f"- {reference}" for reference in sorted(there - asked)]
    return [*lines, *(line + STAYS * (name in FIXED) for name, line in _settings(record, order))]


def _settings(record: Running, order: Order) -> Iterator[tuple[str, str]]:
    """The settings that are others, by name, each with a line for a person."""
    now = order.settings.model_dump(exclude={"agents"})
    for table, keys in now.items():
        for key, value in keys.items():
            before = record.settings.get(table, {}).get(key)
            if before != value:
                yield f"{table}.{key}", f"{table}.{key}: {_change(before, value)}"


def _change(before: Any, now: Any) -> str:
    old, new = (repr(without_password(value) if isinstance(value, str) else value) for value in (before, now))
    return f"{old} -> {new}" if old != new else "another password"
