"""Real processes, really killed, under tasks that wait and call each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.remote import LEDGER
from cluster.task import Filter
from tests.raycluster import ray_cluster

from .background import Background, background, traced
from .victims import Work

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

AGENTS = ["tests.faults.victims:Tracer", "tests.faults.victims:Foreman"]
FOREMEN = 3


@pytest.fixture(scope="module")
def rubato(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    folder = tmp_path_factory.mktemp("state")
    with ray_cluster(), background(folder, AGENTS, workers=1) as found:
        yield found


async def test_whoever_dies_a_task_that_waits_goes_on_and_what_it_called_ran_once(
    rubato: Background, tmp_path: Path
) -> None:
    workers = await rubato.until_ready(2)  # one of each kind
    trace = tmp_path / "trace"
    works = [Work(trace=str(trace), name=f"w{n}", steps=3, seconds=0.15) for n in range(FOREMEN)]
    ids = await rubato.submit("foreman", *works, max_attempts=3)
    while {task.state for task in [await rubato.ledger.task("", id) for id in ids] if task} != {"waiting"}:
        await asyncio.sleep(0.02)

    await rubato.kill(LEDGER)
    for id in ids:
        await rubato.ledger.signal("", id, "begin", "null")
    while len(traced(trace)) < 4:
        await asyncio.sleep(0.02)
    await rubato.kill(LEDGER)
    for worker in workers:
        await rubato.kill_worker(worker)
    tasks = await rubato.ended(ids)

    expected = '[{"values":[0,1,4]},{"values":[0,1,4]},{"values":[0,1,4]}]'
    assert [(task.state, task.output, task.attempts) for task in tasks] == [("completed", expected, 1)] * FOREMEN
    children = [await rubato.ledger.tasks("", Filter(parent_id=id), None, 100) for id in ids]
    assert [len(found) for found in children] == [3] * FOREMEN
    assert {child.state for found in children for child in found} == {"completed"}
    ran = Counter(traced(trace))
    assert len(ran) == FOREMEN * 3 * 3
    assert max(ran.values()) <= 2, "what was in progress when its worker died, and nothing else, ran again"
    assert sum(ran.values()) - len(ran) <= 8  # one worker's slots
