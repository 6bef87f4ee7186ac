"""Real replicas, really ended: a live run that goes on as a task loses no step, and is there once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from ray import serve

from agents.catalog import load
from cluster.remote import LEDGER
from cluster.task import Filter
from deployments.serving import ReplicaPlan, build, build_gateway, deploy
from tests.deployments.acting import start_greeting
from tests.processes import title_of
from tests.raycluster import Cluster, ray_cluster

from .background import Background, background, traced
from .victims import Work

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

MOVER, BOSS = "tests.faults.movers:Mover", "tests.faults.movers:Boss"
ASYNC = {"Prefer": "respond-async, wait=0.5"}
PATIENT = {"Prefer": "respond-async, wait=15"}
SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster(drain=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def rubato(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    folder = tmp_path_factory.mktemp("state")
    with background(folder, [MOVER, BOSS]) as found:
        deploy(build_gateway(start_greeting, "welcome"), {"mover": _app(folder), "boss": _app(folder, BOSS)})
        yield found


@pytest.fixture
async def http(cluster: Cluster, rubato: Background) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cluster.url, timeout=40) as http:
        async with asyncio.timeout(SECONDS):
            await rubato.until_ready(2)
            for agent in ("mover", "boss"):
                while (await http.get(f"/v1/agents/{agent}")).status_code != 200:
                    await asyncio.sleep(0.1)
        yield http


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def _app(folder: Path, agent: str = MOVER) -> serve.Application:
    return build(load(agent), ReplicaPlan(agent, str(folder / "artifacts"), opens=True))


async def run(http: httpx.AsyncClient, work: Work, agent: str = "mover", **headers: str) -> httpx.Response:
    return await http.post(f"/v1/agents/{agent}/run", json=work.model_dump(), headers=headers)


def replicas(cluster: Cluster) -> list[psutil.Process]:
    return [process for process in cluster.processes() if "ServeReplica:agent-mover" in title_of(process)]


def where(trace: Path) -> set[str]:
    """The processes in which steps ran."""
    return {line.split()[2] for line in trace.read_text().splitlines()}


def accepted(answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    id: str = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/tasks/{id}"
    return id


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_run_that_takes_too_long_goes_on_in_the_pool_and_no_recorded_step_runs_again(
    http: httpx.AsyncClient, rubato: Background, trace: Path
) -> None:
    work = Work(trace=str(trace), name="a", steps=6, seconds=0.3)

    id = accepted(await run(http, work, **ASYNC))
    (task,) = await rubato.ended([id])

    assert (task.state, task.output, task.attempts) == ("completed", '{"values":[0,1,4,9,16,25]}', 1)
    assert Counter(traced(trace)) == {("a", number): 1 for number in range(6)}
    assert len(where(trace)) == 2  # a replica, and a worker


async def test_a_step_in_a_thread_ends_in_the_replica_and_is_recorded_there(
    http: httpx.AsyncClient, rubato: Background, trace: Path
) -> None:
    work = Work(trace=str(trace), name="f", steps=3, seconds=1.0, misdeed="firm")

    id = accepted(await run(http, work, **ASYNC))
    (task,) = await rubato.ended([id])

    assert (task.state, task.attempts) == ("completed", 1)
    assert Counter(traced(trace)) == {("f", number): 1 for number in range(3)}


async def test_sub_agents_answer_in_their_replicas_and_leave_with_their_run(
    http: httpx.AsyncClient, rubato: Background, trace: Path
) -> None:
    quick = Work(trace=str(trace), name="q", steps=2, seconds=0.05)
    answered = await run(http, quick, "boss")
    assert (answered.status_code, answered.json()) == (200, [{"values": [0, 1]}] * 3)

    slow = Work(trace=str(trace), name="s", steps=6, seconds=0.4)
    id = accepted(await run(http, slow, "boss", Prefer="respond-async, wait=1"))
    (task,) = await rubato.ended([id])

    assert (task.state, task.output) == ("completed", "[" + ",".join(['{"values":[0,1,4,9,16,25]}'] * 3) + "]")
    children = await rubato.ledger.tasks("", Filter(parent_id=id), None, 10)
    assert [(child.state, child.attempts) for child in children] == [("completed", 1)] * 3
    steps = {(f"s.{part}", step): 1 for part in range(3) for step in range(6)}
    assert Counter(traced(trace)) == {(f"q.{part}", step): 1 for part in range(3) for step in range(2)} | steps


async def test_when_serve_ends_a_replica_its_runs_go_on_as_tasks_and_plain_ones_end_first(
    http: httpx.AsyncClient, rubato: Background, trace: Path
) -> None:
    """Also the test that notices when Ray keeps the sign of a drain elsewhere."""
    moving = [asyncio.create_task(run(http, _long(trace, f"m{n}"), **PATIENT)) for n in range(5)]
    plain = [asyncio.create_task(run(http, _long(trace, f"p{n}"))) for n in range(5)]
    await until(lambda: len(traced(trace)) >= 10)

    await asyncio.to_thread(serve.delete, "agent-mover")

    ids = [accepted(await each) for each in moving]
    assert [(await each).status_code for each in plain] == [200] * 5
    tasks = await rubato.ended(ids)
    assert {(task.state, task.attempts) for task in tasks} == {("completed", 1)}
    assert Counter(traced(trace)) == {(f"{kind}{n}", step): 1 for kind in "mp" for n in range(5) for step in range(8)}
    await asyncio.to_thread(deploy, None, {"mover": _app(rubato.folder)})


async def test_work_that_was_promoted_survives_the_kill_of_its_replica(
    http: httpx.AsyncClient, cluster: Cluster, rubato: Background, trace: Path
) -> None:
    work = Work(trace=str(trace), name="k", steps=3, seconds=3.0, misdeed="firm")
    id = accepted(await run(http, work, **ASYNC))  # and the replica waits for its step to end

    for process in replicas(cluster):
        os.kill(process.pid, signal.SIGKILL)
    (task,) = await rubato.ended([id])

    assert (task.state, task.output) == ("completed", '{"values":[0,1,4]}')
    assert Counter(traced(trace)) == {("k", 0): 2, ("k", 1): 1, ("k", 2): 1}


async def test_while_the_ledger_dies_each_promotion_is_a_task_once_or_not_at_all(
    http: httpx.AsyncClient, rubato: Background, trace: Path
) -> None:
    works = [Work(trace=str(trace), name=f"l{n}", steps=4, seconds=0.3) for n in range(24)]
    calls = [
        asyncio.create_task(run(http, work, Prefer=f"respond-async, wait={0.4 + n / 20:g}"))
        for n, work in enumerate(works)
    ]
    await asyncio.sleep(0.7)

    await rubato.kill(LEDGER)

    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} <= {200, 202, 503}
    print("answers", Counter(answer.status_code for answer in answers))
    ids = {answer.headers["task-id"] for answer in answers if answer.status_code != 200}
    sure = {answer.headers["task-id"] for answer in answers if answer.status_code == 202}
    assert sure
    assert {task.state for task in await rubato.ended(sorted(sure))} == {"completed"}
    there = {task.id for task in await rubato.ledger.tasks("", Filter(agent="mover"), None, 200)}
    assert {task.state for task in await rubato.ended(sorted(ids & there))} == {"completed"}
    assert all(answer.headers["task-id"] not in there for answer in answers if answer.status_code == 200)


def _long(trace: Path, name: str) -> Work:
    return Work(trace=str(trace), name=name, steps=8, seconds=0.4)
