"""`status`: what runs, as far as those who run it can be asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import raylocal
from cluster.places import on_server, without_password

from . import foreground
from .codemark import python_path
from .state import ROOT, Running, StateFolder
from .up import running

REPLICA = "SERVE_REPLICA::"  # how Serve names the actors of its replicas: SERVE_REPLICA::application#deployment#id
SERVE = "serve"
FALLBACK = "SERVE_PROXY_ACTOR-fallback-"  # the proxy that Serve keeps behind an HAProxy


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a Rubato."""

    up: bool
    url: str = ""
    ready: bool = False
    ingress: str = ""
    since: float = 0.0
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> reference, replicas
    workers: list[dict[str, Any]] = field(default_factory=list)  # as the pool describes its kinds
    nodes: list[dict[str, Any]] = field(default_factory=list)  # likewise of nodes
    price: float | None = None  # USD an hour that all nodes cost now; None where a price is not known
    tasks: dict[str, int] = field(default_factory=dict)  # state -> how many
    ticks: int = 0  # transactions of the ledger since it started
    store: str = ""  # without a password that belongs to it
    store_bytes: int | None = None  # None where it is not a file
    dashboard: str = ""
    logs: str = ""


def status(state: StateFolder) -> Status:
    """What runs for this state folder. Raises RayProblem, Unavailable where it runs and cannot be asked."""
    record = running(state)
    if record is None:
        return Status(up=False)
    _connect(record, state)
    actors = raylocal.actors()
    tasks, ticks = _counts()
    nodes = _nodes()
    replicas = Counter(_application(name) for name, space in actors if space == SERVE and name.startswith(REPLICA))
    return Status(
        up=True,
        url=record.url,
        ready=foreground.status_of(f"{record.url}/readyz") == 200,
        ingress=_ingress(actors),
        since=record.since,
        agents={
            name: {"agent": reference, "replicas": replicas[f"agent-{name}"]}
            for name, reference in record.agents.items()
        },
        workers=_workers(),
        nodes=nodes,
        price=price_of(nodes),
        tasks=tasks,
        ticks=ticks,
        store=without_password(record.store),
        store_bytes=None if on_server(record.store) else _size(Path(record.store)),
        dashboard=record.dashboard,
        logs=record.logs,
    )


def _connect(record: Running, state: StateFolder) -> None:
    if record.ours:
        raylocal.adopt(raylocal.environment(record.cluster, state.token, {}, python_path()))
        raylocal.connect(record.address)
    else:
        raylocal.join(record.address, ROOT, python_path())


def _application(replica: str) -> str:
    return replica.removeprefix(REPLICA).partition("#")[0]


def _ingress(actors: list[tuple[str, str]]) -> str:
    """What takes the requests: an HAProxy on each node, or Serve's own proxy in Python."""
    by_haproxy = any(space == SERVE and name.startswith(FALLBACK) for name, space in actors)
    return "haproxy" if by_haproxy else "python proxy"


def _workers() -> list[dict[str, Any]]:
    from cluster.actors import pool_status

    return pool_status()


def price_of(nodes: list[dict[str, Any]]) -> float | None:
    """USD an hour that these nodes cost; None where the price of one that is there is not known."""
    there = [node for node in nodes if node["nodes"]]
    if any(node["price"] is None for node in there):
        return None
    return round(sum(float(node["nodes"] * node["price"]) for node in there), 6)


def _nodes() -> list[dict[str, Any]]:
    from cluster.actors import pool_nodes

    return pool_nodes()


def _counts() -> tuple[dict[str, int], int]:
    """Tasks by state, and the ledger's ticks."""
    from cluster.remote import LEDGER, Remote

    counts = Remote(LEDGER).call_blocking("counts", seconds=10.0)
    total: Counter[str] = Counter()
    for by_state in counts.tasks.values():
        total.update(by_state)
    return dict(total), counts.ticks


def _size(store: Path) -> int:
    """Bytes on disk, with what SQLite keeps beside the file."""
    return sum(file.stat().st_size for file in store.parent.glob(f"{store.name}*") if file.is_file())
