"""Processes that stand still, SIGSTOP to SIGCONT, past their leases and within them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.claims import LEASE
from cluster.errors import StoreProblem
from cluster.remote import LEDGER, Remote
from cluster.sqlite import SqliteStore
from cluster.task import Event, Step, Task
from tests.raycluster import ray_cluster

from .background import Background, background
from .laborers import Job, starts

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

AGENTS = ["tests.faults.laborers:Hauler", "tests.faults.laborers:Sprinter"]


@pytest.fixture(scope="module")
def rubato(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    folder = tmp_path_factory.mktemp("state")
    # One that hears of nobody ends itself after a while, and who stands still hears of nobody: not in this test.
    with ray_cluster(with_haproxy=False), background(folder, AGENTS, orphaned_after=60) as found:
        yield found


async def held_in_their_second_steps(rubato: Background, trace: Path) -> tuple[list[Task], str]:
    """A hauler and a sprinter that one worker holds while they are in the second of three steps; and that worker."""
    await rubato.until_ready(2)
    job = Job(trace=str(trace), name="j", seconds=0.7)
    ids = [*await rubato.submit("hauler", job, job), *await rubato.submit("sprinter", job, job)]
    while len(starts(trace)) < 8:
        await asyncio.sleep(0.01)
    tasks = [task for task in [await rubato.ledger.task("", id) for id in ids] if task]
    for worker in {task.worker for task in tasks if task.worker}:
        pair = {task.agent: task for task in tasks if task.worker == worker}
        if len(pair) == 2:
            return [pair["hauler"], pair["sprinter"]], worker
    raise AssertionError(f"no worker got one of each: {tasks}")


async def kept(rubato: Background, id: str) -> tuple[Task | None, list[Step] | None, tuple[Event, ...]]:
    """All that there is of a task."""
    page = await rubato.ledger.events("", id, -1, 0)
    assert page is not None
    return await rubato.ledger.task("", id), await rubato.ledger.steps("", id), page.events


@pytest.mark.long
async def test_a_worker_that_wakes_after_its_lease_changes_nothing(rubato: Background, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tasks, worker = await held_in_their_second_steps(rubato, trace)
    process = psutil.Process(await rubato.pid_of(worker))

    process.suspend()
    await asyncio.sleep(LEASE - 5)
    early = [await rubato.ledger.task("", task.id) for task in tasks]
    ended = await rubato.ended([task.id for task in tasks])
    before = [await kept(rubato, task.id) for task in tasks]
    process.resume()
    await asyncio.sleep(5)  # in which it ends its steps, reports, and beats

    assert [task and task.worker for task in early] == [worker, worker], "a lease is not over before its time"
    assert [await kept(rubato, task.id) for task in tasks] == before
    assert [(task.state, task.attempts, task.fence) for task in ended] == [("completed", 1, 2)] * 2
    ran = Counter((task, step) for task, step, _ in starts(trace))
    for task, unrecorded in zip(ended, (["haul#1"], ["haul#0", "haul#1"]), strict=True):
        assert [step for id, step in ran if id == task.id and ran[id, step] == 2] == unrecorded
        assert (task.output or "").count(",") == 2
    assert max(ran.values()) == 2, "nothing started under the lost claim once it was over"
    assert process.is_running()
    assert worker in await rubato.until_ready(2), "it goes on with other work"
    (late, *_) = await rubato.submit("hauler", *[Job(trace=str(trace), name="n") for _ in range(16)])
    await rubato.ended([late])


async def test_a_worker_that_wakes_within_its_lease_goes_on(rubato: Background, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tasks, worker = await held_in_their_second_steps(rubato, trace)
    process = psutil.Process(await rubato.pid_of(worker))

    process.suspend()
    await asyncio.sleep(LEASE / 2)
    process.resume()
    ended = await rubato.ended([task.id for task in tasks])

    assert [(task.state, task.attempts, task.fence) for task in ended] == [("completed", 1, 1)] * 2
    assert max(Counter((task, step) for task, step, _ in starts(trace)).values()) == 1, "each step started once"


async def test_a_ledger_that_stands_still_keeps_its_file_and_goes_on(rubato: Background, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tasks, _ = await held_in_their_second_steps(rubato, trace)
    ledger = psutil.Process(await Remote(LEDGER).call("pid", patience=5))

    ledger.suspend()
    with pytest.raises(StoreProblem, match="another ledger"):
        await asyncio.to_thread(SqliteStore(rubato.folder / "ledger.db").take, create=False, wait=5)
    ledger.resume()
    ended = await rubato.ended([task.id for task in tasks])

    assert [(task.state, task.attempts, task.fence) for task in ended] == [("completed", 1, 1)] * 2
    assert max(Counter((task, step) for task, step, _ in starts(trace)).values()) == 1, "each step started once"
    assert await Remote(LEDGER).call("pid", patience=5) == ledger.pid
