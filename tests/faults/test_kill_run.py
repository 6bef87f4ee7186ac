"""Real processes under load, killed at random; then the whole history must hold what was promised."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgres import OwnServer, make_database
from tests.raycluster import Cluster, ray_cluster

from .background import Background, background
from .clients import Client, gateway
from .history import Told, read
from .killing import Kill, Killer, actor, restarted
from .nodes import SecondNode, second_node

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

AGENTS = [f"tests.faults.laborers:{name}" for name in ("Hauler", "Packer", "Juggler")]
CLIENTS = 20
SECONDS = [30, pytest.param(120, marks=pytest.mark.long)]

Say = Callable[[str, object], None]


@dataclass(frozen=True)
class Site:
    """Where the load runs, and who may be killed there."""

    cluster: Cluster
    node: SecondNode
    rubato: Background


def build(stack: ExitStack, folder: Path, store: str = "") -> Site:
    cluster = stack.enter_context(ray_cluster(with_haproxy=False))
    node = stack.enter_context(second_node(cluster))
    return Site(cluster, node, stack.enter_context(background(folder, AGENTS, store=store)))


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield build(stack, tmp_path)


@pytest.fixture
def on_postgres(tmp_path: Path, own_postgres: OwnServer) -> Iterator[Site]:
    url = asyncio.run(make_database(own_postgres, f"kills_{secrets.token_hex(4)}"))
    with ExitStack() as stack:
        yield build(stack, tmp_path, url)


@pytest.mark.parametrize("seconds", SECONDS)
async def test_whoever_is_killed_each_task_ends_once(
    on_sqlite: Site, seconds: int, tmp_path: Path, record_property: Say
) -> None:
    await run(on_sqlite, seconds, tmp_path, record_property, lambda roll: {})


@pytest.mark.parametrize("seconds", SECONDS)
async def test_whoever_is_killed_with_its_postgresql_each_task_ends_once(
    on_postgres: Site, own_postgres: OwnServer, seconds: int, tmp_path: Path, record_property: Say
) -> None:
    def server(roll: random.Random) -> dict[str, Kill]:
        return {"postgresql": restarted(own_postgres.kill, own_postgres.restart, roll, away=1.5)}

    await run(on_postgres, seconds, tmp_path, record_property, server)


async def run(
    site: Site, seconds: int, folder: Path, say: Say, more: Callable[[random.Random], dict[str, Kill]]
) -> None:
    """Load and kills for so long; then quiet, and a look at the whole history."""
    seed = int(os.environ.get("RUBATO_SEED") or random.randrange(2**32))
    print(f"RUBATO_SEED={seed}")
    roll, told, trace = random.Random(seed), Told(), folder / "trace"
    kinds = {name.lower(): actor(site.cluster.id, name, roll) for name in ("Worker", "Pool", "Ledger")}
    kinds |= {"raylet": restarted(site.node.kill, site.node.restart, roll, away=2.0)} | more(roll)
    killer = Killer(roll, kinds)
    await site.rubato.until_ready(4)
    began = time.monotonic()
    async with gateway(folder, AGENTS) as http:
        clients = [Client(f"c{n}", http, told, random.Random(f"{seed} {n}"), trace) for n in range(CLIENTS)]
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(killer.run(seconds))
            for client in clients:
                group.create_task(client.run(killing.done))
    history = await read(site.rubato.ledger, told, trace)
    report = [f"seed {seed}, {seconds} s of kills, {time.monotonic() - began:.0f} s in all", _kills(killer)]
    say("report", "\n  ".join([*report, *history.report()]))

    assert history.breaches() == [], f"seed {seed}"
    assert all(killer.kills[kind] for kind in kinds), killer.kills


def _kills(killer: Killer) -> str:
    return "kills " + ", ".join(f"{number} {kind}" for kind, number in sorted(killer.kills.items()))
