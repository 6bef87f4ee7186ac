"""Real processes, really killed: nothing accepted is lost, nothing recorded runs again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from cluster.remote import LEDGER, POOL, Remote
from tests.raycluster import ray_cluster

from .background import Background, background, error_of, traced
from .victims import Work

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

AGENTS = ["tests.faults.victims:Tracer", "tests.faults.victims:Villain"]


@pytest.fixture(scope="module")
def rubato(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    folder = tmp_path_factory.mktemp("state")
    with ray_cluster(), background(folder, AGENTS) as found:
        yield found


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


async def test_a_task_runs_and_its_journal_shows_each_step(rubato: Background, trace: Path) -> None:
    await rubato.until_ready(2)
    (id,) = await rubato.submit("tracer", Work(trace=str(trace), name="a"))

    (task,) = await rubato.ended([id])

    assert (task.state, task.output, task.attempts) == ("completed", '{"values":[0,1,4]}', 1)
    steps = await rubato.ledger.steps("", id)
    assert steps is not None
    assert [(step.name, step.key, step.value) for step in steps] == [
        ("work", "#0", "0"),
        ("work", "#1", "1"),
        ("work", "#2", "4"),
    ]


async def test_workers_call_the_ledger_over_connections_that_only_this_machine_can_make(rubato: Background) -> None:
    await rubato.until_ready(2)
    door = await Remote(LEDGER).call("door", patience=5)
    ledger = psutil.Process(await Remote(LEDGER).call("pid", patience=5))

    found = [each.laddr for each in ledger.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert {tuple(end) for end in found if end.port == door.port} == {("127.0.0.1", door.port)}
    near = [each for each in ledger.net_connections("unix") if each.laddr == door.near.replace("\0", "@")]
    assert len(near) > len(await rubato.pids()), "the socket that listens, and one for each that has come"


async def test_a_killed_worker_loses_nothing_and_recorded_steps_do_not_run_again(
    rubato: Background, trace: Path
) -> None:
    await rubato.until_ready(2)
    works = [Work(trace=str(trace), name=f"w{n}", steps=6, seconds=0.2) for n in range(6)]
    ids = await rubato.submit("tracer", *works)
    while len(traced(trace)) < 12:
        await asyncio.sleep(0.02)
    journals = [{step.key for step in await rubato.ledger.steps("", id) or ()} for id in ids]

    for worker in await rubato.until_ready(2):
        await rubato.kill_worker(worker)
    tasks = await rubato.ended(ids)

    assert [task.state for task in tasks] == ["completed"] * 6
    ran = Counter(traced(trace))
    assert set(ran) == {(work.name, number) for work in works for number in range(6)}
    for work, journal in zip(works, journals, strict=True):
        again = {f"#{number}" for number in range(6) if ran[work.name, number] > 1}
        assert not again & journal, f"recorded steps {again & journal} of {work.name} ran again"
    assert {task.attempts for task in tasks} == {1}, "a first death is nobody's fault"


async def test_a_killed_ledger_loses_no_accepted_task_and_no_running_one(rubato: Background, trace: Path) -> None:
    await rubato.until_ready(2)
    works = [Work(trace=str(trace), name=f"l{n}", steps=5, seconds=0.2) for n in range(20)]
    ids = await rubato.submit("tracer", *works)
    await asyncio.sleep(0.5)

    old = await rubato.kill(LEDGER)
    late = await rubato.submit("tracer", Work(trace=str(trace), name="late"))
    tasks = await rubato.ended(ids + late)

    assert {task.state for task in tasks} == {"completed"}
    assert max(Counter(traced(trace)).values()) == 1, "workers present their claims again: nothing runs twice"
    assert await Remote(LEDGER).call("pid") != old


async def test_workers_outlive_the_pool_and_its_next_life_adopts_them(rubato: Background, trace: Path) -> None:
    before = await rubato.until_ready(2)
    ids = await rubato.submit("tracer", Work(trace=str(trace), name="p", steps=5, seconds=0.2))

    await rubato.kill(POOL)
    (task,) = await rubato.ended(ids)

    assert task.state == "completed"
    assert sorted(await rubato.until_ready(2)) == sorted(before)


@pytest.mark.parametrize(
    ("misdeed", "type", "attempts"),
    [
        ("raise", "error", 2),
        ("wrong type", "invalid_output", 1),
        ("exit", "error", 2),
        ("hang", "timeout", 2),
        ("kill", "worker_died", 2),
    ],
)
async def test_a_villain_ends_failed_with_its_reason_and_its_neighbours_complete(
    rubato: Background, trace: Path, misdeed: str, type: str, attempts: int
) -> None:
    await rubato.until_ready(2)
    neighbours = await rubato.submit("tracer", *[Work(trace=str(trace), name=f"n{n}", seconds=0.3) for n in range(4)])
    (villain,) = await rubato.submit("villain", Work(trace=str(trace), name="v", misdeed=misdeed), seconds=2)

    (task,) = await rubato.ended([villain])
    others = await rubato.ended(neighbours)

    assert (task.state, task.attempts, error_of(task)["type"]) == ("failed", attempts, type)
    assert {other.state for other in others} == {"completed"}
    assert "Traceback" not in (task.error or "")
    await rubato.until_ready(2)


async def test_workers_without_pool_and_ledger_end_themselves(rubato: Background) -> None:
    """The last test of this module: it leaves nothing behind to test."""
    await rubato.until_ready(2)
    pids = await rubato.pids()

    for name in (POOL, LEDGER):
        ray.kill(ray.get_actor(name, namespace="rubato"))

    ends = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < ends:
        await asyncio.sleep(0.2)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
