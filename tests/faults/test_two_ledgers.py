"""A ledger that stands still while another takes its store over, and then goes on: it writes nothing any more."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import Unavailable
from cluster.remote import LEDGER, Remote
from cluster.task import Filter
from tests.cluster.on_postgres import say
from tests.postgres import OwnServer, make_database
from tests.raycluster import ray_cluster

from .background import Background, background
from .laborers import Job, starts
from .nodes import SecondNode, second_node

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(300)]  # Ray takes a minute to miss such a node

AGENTS = ["tests.faults.laborers:Hauler"]
PATIENCE = 90.0  # seconds in which Ray must notice that a node is gone, and start the ledger on another


@dataclass(frozen=True)
class Pair:
    """The ledger, on a node that it may lose, and the database that it shares with whoever takes it over."""

    rubato: Background
    node: SecondNode
    url: str

    async def tick(self) -> int:
        """The last one that was committed, whoever did it."""
        (row,) = await say(self.url, "select tick from owner")
        return int(row["tick"])


@pytest.fixture
def pair(tmp_path: Path, own_postgres: OwnServer) -> Iterator[Pair]:
    url = asyncio.run(make_database(own_postgres, f"pair_{secrets.token_hex(4)}"))
    with ExitStack() as stack:
        node = stack.enter_context(second_node(stack.enter_context(ray_cluster(with_haproxy=False))))
        node.until_known()
        there = {"memory": 1, "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=True)}
        yield Pair(stack.enter_context(background(tmp_path, AGENTS, store=url, place=there)), node, url)


async def test_a_ledger_that_wakes_after_it_was_replaced_writes_nothing(pair: Pair, tmp_path: Path) -> None:
    rubato, trace = pair.rubato, tmp_path / "trace"
    await rubato.until_ready(2)
    jobs = [Job(trace=str(trace), name=f"j{n}", steps=6, seconds=0.2) for n in range(8)]
    ids = await rubato.submit("hauler", *jobs, max_attempts=9)
    while len(starts(trace)) < 16:
        await asyncio.sleep(0.02)

    old = psutil.Process(await Remote(LEDGER).call("pid", patience=5))
    still = pair.node.pause()
    assert old in still, "the ledger is not on the node that it may lose"
    await asyncio.sleep(0.5)  # what it had sent arrives
    before = await pair.tick()
    late = asyncio.create_task(accepted(rubato, Job(trace=str(trace), name="late")))
    new = await other_than(old.pid)
    while await committed() == 0:
        await asyncio.sleep(0.05)
    assert old.is_running(), "it stands still, and has heard of nothing"
    for process in still:
        process.resume()

    tasks = await rubato.ended(ids + await late)
    assert {task.state for task in tasks} == {"completed"}
    assert len(await rubato.ledger.tasks("", Filter(), None, 100)) == len(jobs) + 1
    assert await Remote(LEDGER).call("pid", patience=5) == new
    # Every step on record is that of its last start; each tick in the store is one of the new ledger's.
    marks = {(task, step): mark for task, step, mark in starts(trace)}
    recorded = {(task.id, step.name + step.key): step.value for task in tasks for step in await steps(rubato, task.id)}
    assert recorded == {place: f'"{mark}"' for place, mark in marks.items()}
    assert await pair.tick() == before + (await rubato.ledger.counts()).ticks
    psutil.wait_procs([old], timeout=30)
    assert not old.is_running()


async def accepted(rubato: Background, job: Job) -> list[str]:
    """The id of a submission that is made again for as long as it is refused."""
    while True:
        try:
            return await rubato.submit("hauler", job, max_attempts=9)
        except Unavailable:
            await asyncio.sleep(0.2)


async def other_than(old: int) -> int:
    """The process of the next ledger, which is there when it has opened the store."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        pid: int = await Remote(LEDGER).call("pid", patience=PATIENCE)
        if pid != old:
            return pid
        await asyncio.sleep(0.2)
    raise AssertionError("no other ledger has come")


async def committed() -> int:
    """Ticks of the ledger that answers; 0 while it reads its book."""
    with suppress(Unavailable):
        return int((await Remote(LEDGER).call("counts", patience=5)).ticks)
    return 0


async def steps(rubato: Background, id: str) -> list:
    return await rubato.ledger.steps("", id) or []
