"""Real processes under load, killed at random; then the whole history must hold what was promised."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.remote import POOL, Remote
from tests.postgres import OwnServer, make_database

from .history import read
from .killing import Kill, Killer, actor, restarted
from .sites import Site, site

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

CLIENTS = 20
SECONDS = [30, pytest.param(120, marks=pytest.mark.long)]

Say = Callable[[str, object], None]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as found:
        yield found


@pytest.fixture
def on_postgres(tmp_path: Path, own_postgres: OwnServer) -> Iterator[Site]:
    with site(tmp_path, asyncio.run(make_database(own_postgres, f"kills_{secrets.token_hex(4)}"))) as found:
        yield found


@pytest.mark.parametrize("seconds", SECONDS)
async def test_whoever_is_killed_each_task_ends_once(on_sqlite: Site, seconds: int, record_property: Say) -> None:
    await run(on_sqlite, seconds, record_property, lambda roll: {})


@pytest.mark.long
@pytest.mark.parametrize("seconds", [120])
async def test_whoever_is_killed_with_its_postgresql_each_task_ends_once(
    on_postgres: Site, own_postgres: OwnServer, seconds: int, record_property: Say
) -> None:
    def server(roll: random.Random) -> dict[str, Kill]:
        return {"postgresql": restarted(own_postgres.kill, own_postgres.restart, roll, away=1.5)}

    await run(on_postgres, seconds, record_property, server)


async def run(site: Site, seconds: int, say: Say, more: Callable[[random.Random], dict[str, Kill]]) -> None:
    """Load and kills for so long; then quiet, and a look at the whole history."""
    seed = int(os.environ.get("RUBATO_SEED") or random.randrange(2**32))
    print(f"RUBATO_SEED={seed}")
    roll = random.Random(seed)
    kinds = {name.lower(): actor(site.cluster.id, name, roll) for name in ("Worker", "Pool", "Ledger")}
    kinds |= {"raylet": restarted(site.node.kill, site.node.restart, roll, away=2.0)} | more(roll)
    killer = Killer(roll, kinds)

    took = await site.loaded(CLIENTS, seed, killer.run(seconds))

    history = await read(site.rubato.ledger, site.told, site.trace)
    kills = ", ".join(f"{number} {kind}" for kind, number in sorted(killer.kills.items()))
    report = [f"seed {seed}, {seconds} s of kills, {took:.0f} s in all", f"kills {kills}", *history.report()]
    say("report", "\n  ".join(report))
    assert history.breaches() == [], f"seed {seed}; the pool: {await Remote(POOL).call('describe', patience=5)}"
    assert all(killer.kills[kind] for kind in kinds), killer.kills
