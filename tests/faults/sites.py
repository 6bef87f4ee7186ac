"""Where a load runs: ledger, pool and workers on two nodes, and clients of a gateway."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.raycluster import Cluster, ray_cluster

from .background import Background, background
from .clients import Client, gateway
from .history import Told
from .nodes import SecondNode, second_node

AGENTS = [f"tests.faults.laborers:{name}" for name in ("Hauler", "Packer", "Juggler")]
WORKERS = 4  # two of each kind


@dataclass
class Site:
    """A running one, and what all its clients were told."""

    cluster: Cluster
    node: SecondNode
    rubato: Background
    told: Told = field(default_factory=Told)

    @property
    def trace(self) -> Path:
        """What the steps write into."""
        return self.rubato.folder / "trace"

    async def loaded(self, clients: int, seed: int, meanwhile: Awaitable[None], *, late: float = 0.0) -> float:
        """Have so many clients at work until this is over, and wait for their last errands; the seconds it took. The
        last client comes `late` seconds after the others."""
        await self.rubato.until_ready(WORKERS)
        began = time.monotonic()
        async with gateway(self.rubato.folder, AGENTS) as http, asyncio.TaskGroup() as group:
            over = group.create_task(_awaited(meanwhile))
            for number in range(clients):
                roll, name = random.Random(f"{seed} {number}"), f"{seed}.{number}"
                after = late if number == clients - 1 else 0.0
                group.create_task(Client(name, http, self.told, roll, self.trace).run(over.done, after))
        return time.monotonic() - began


async def _awaited(meanwhile: Awaitable[None]) -> None:
    await meanwhile


@contextmanager
def site(folder: Path, store: str = "") -> Iterator[Site]:
    """One of its own, whose ledger has this store."""
    with ExitStack() as stack:
        cluster = stack.enter_context(ray_cluster(with_haproxy=False))
        node = stack.enter_context(second_node(cluster))
        yield Site(cluster, node, stack.enter_context(background(folder, AGENTS, store=store)))
