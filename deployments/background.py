"""The background of a Rubato: its store taken, its ledger and pool started, its workers waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import RubatoError
from agents.catalog import Catalog
from cluster import raylocal
from cluster.equipment import Equipment
from cluster.nodekinds import known
from cluster.places import on_server
from cluster.retention import DAY, Retention
from cluster.schedule import policy_of
from cluster.stores import store_at

from .fitting import check_fits
from .pooltable import PoolTable
from .settings import RetentionTable, Settings
from .state import StateFolder

if TYPE_CHECKING:
    from cluster.actors import LedgerPlan, Place
    from cluster.fleet import PoolPlan

WORKERS_SECONDS = 180.0  # in which the workers must have set up their agents
LEDGER_SECONDS = 30.0  # in which the ledger must answer
POLL = 0.2


class NoWorkers(RubatoError):
    """Workers did not come up; the message says why."""


def take_store(state: StateFolder, wanted: str) -> tuple[str, str, int]:
    """Place, id and new generation of the store; from now on no older ledger can write to it.

    Raises StoreProblem where the folder's store is gone or is another one: its tasks are never silently forgotten.
    """
    where, known = state.store(wanted)
    if not on_server(where):
        Path(where).parent.mkdir(parents=True, exist_ok=True)
    owner = store_at(where).take(create=not known, expect=known)
    state.remember_store(where, owner.store_id)
    return where, owner.store_id, owner.generation


def start_ledger(
    store: tuple[str, str, int], catalog: Catalog, retention: RetentionTable, artifacts_url: str, node: str
) -> None:
    """Returns when the ledger answers; a file as its store lies on that node."""
    from cluster import actors

    actors.start_ledger(_ledger(store, catalog, retention, artifacts_url), _place(store[0], node))


def replace_ledger(state: StateFolder, settings: Settings, catalog: Catalog, artifacts_url: str, node: str) -> None:
    """Returns when another ledger has gone on with the store, and with all that workers hold."""
    from cluster import actors

    url = settings.store.url
    taken = partial(take_store, state, url)
    place = _place(state.store(url)[0], node)
    actors.replace_ledger(lambda: _ledger(taken(), catalog, settings.retention, artifacts_url), place)


def _ledger(store: tuple[str, str, int], catalog: Catalog, retention: RetentionTable, artifacts_url: str) -> LedgerPlan:
    from cluster.actors import LedgerPlan

    policies = tuple((name, policy) for name, entry in catalog.items() if (policy := policy_of(entry)) is not None)
    kept = Retention(retention.ended_after * DAY, retention.artifacts_after * DAY, retention.sessions_after * DAY)
    return LedgerPlan(*store, policies, kept, artifacts_url)


def _place(where: str, node: str) -> Place:
    """On the head; where the store is a file of that node, on no other."""
    from cluster import actors

    return actors.HEAD if on_server(where) else actors.head_as(node)


def ask_ledger(method: str, *arguments: Any) -> Any:
    """What this method of the ledger that runs returns; what it raises is raised here. Raises Unavailable where it has
    not begun to answer for too long: it may be reading its store still."""
    from cluster.errors import Unavailable
    from cluster.remote import LEDGER, Remote

    ledger, ends = Remote(LEDGER), time.monotonic() + LEDGER_SECONDS
    while True:
        try:
            return ledger.call_blocking(method, *arguments, seconds=LEDGER_SECONDS)
        except Unavailable:
            if time.monotonic() > ends:
                raise
        time.sleep(POLL)


def check_room(catalog: Catalog, table: PoolTable) -> None:
    """Raises NoSuchNode where some agent's worker or replica fits on no node that is there or may come."""
    from cluster import fleet, nodes

    check_fits(catalog, known(fleet.brought(tuple(table.node_kinds())), nodes.nodes()))


@dataclass(frozen=True, slots=True)
class Staff:
    """What workers are: of which code, with what, which modules Ray brings them, and in containers of which image; ''
    for none."""

    code: str
    equipment: Equipment
    modules: tuple[str, ...] = ()
    image: str = ""


def start_pool(catalog: Catalog, table: PoolTable, artifacts_url: str, logs: Path, staff: Staff) -> None:
    """Returns when the pool answers; its workers come by themselves."""
    from cluster import actors

    actors.start_pool(_pool(catalog, table, artifacts_url, logs, staff))


def replace_pool(catalog: Catalog, table: PoolTable, artifacts_url: str, logs: Path, staff: Staff) -> None:
    """Returns when another pool answers: new workers come, and those that it does not want any more end their work."""
    from cluster import actors

    actors.replace_pool(_pool(catalog, table, artifacts_url, logs, staff))


def _pool(catalog: Catalog, table: PoolTable, artifacts_url: str, logs: Path, staff: Staff) -> PoolPlan:
    from cluster import fleet
    from cluster.kinds import kinds
    from cluster.situation import Rules

    told = tuple(table.node_kinds())
    elastic = bool(fleet.brought(told))
    bounds, cpus = table.bounds(elastic=elastic), None if elastic else raylocal.cpus()
    found = kinds(catalog.values(), bounds, cpus, code=staff.code)
    rules = Rules(table.total, table.idle, table.spot_patience, table.old_versions)
    places = artifacts_url, str(logs)
    return fleet.PoolPlan(
        *(tuple(found), *places),
        node_kinds=told,
        rules=rules,
        result_bytes=table.result_bytes,
        equipment=staff.equipment,
        modules=staff.modules,
        image=staff.image,
    )


def wait_for_workers(tell: Callable[[str], None]) -> None:
    """Returns when each kind has a worker that takes work; the others follow by themselves.

    Raises NoWorkers as soon as one cannot start.
    """
    from cluster.actors import pool_status

    ends = time.monotonic() + WORKERS_SECONDS
    while True:
        kinds: list[dict[str, Any]] = pool_status()
        wanted = sum(kind["wanted"] for kind in kinds)
        ready = sum(kind["ready"] for kind in kinds)
        troubles = [f"a worker for {', '.join(kind['agents'])}: {kind['trouble']}" for kind in kinds if kind["trouble"]]
        if troubles:
            raise NoWorkers("; ".join(troubles))
        tell(f"{ready} of {wanted}")
        if all(kind["ready"] or not kind["wanted"] for kind in kinds):
            return
        if time.monotonic() > ends:
            raise NoWorkers(f"only {ready} of {wanted} workers were ready after {WORKERS_SECONDS:.0f} s")
        time.sleep(POLL)
