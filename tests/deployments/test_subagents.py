"""That a live run's sub-agents answer in their replicas, within its time, and leave with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from agents.ids import derived_id
from cluster.ledger import Ledger
from cluster.task import Filter, Task
from deployments.replica import Links, Replica
from deployments.subagents import SubAsk, SubTold
from tests.garbage import garbage

from .driving import Answer, Call, ask, hosting
from .ledgers import Direct, Hand, running_ledger
from .walker import Hasty, Walker, plan

pytestmark = pytest.mark.slow

LATE = {"Prefer": "respond-async, wait=0.3"}
TAKES_A_TASK = {"Prefer": "respond-async"}


class Near:
    """Replicas of this process, one of each agent, as over a wire."""

    def __init__(self) -> None:
        self.replicas: dict[str, Replica] = {}
        self.asked: list[SubAsk] = []

    async def ask(self, agent: str, ask: SubAsk) -> SubTold | None:
        self.asked.append(ask)
        replica = self.replicas.get(agent)
        return None if replica is None else await replica.sub(SubAsk(*ask))

    async def leave(self, agent: str, task_id: str) -> None:
        self.replicas[agent].leave_run(task_id)


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running_ledger() as ledger:
        yield ledger


@pytest.fixture
async def near(ledger: Ledger, tmp_path: Path) -> AsyncIterator[Near]:
    """A chief, a walker, a mirror and one who is hasty."""
    Walker.gate = asyncio.Event()
    Walker.began.clear()
    Walker.cancelled.clear()
    near = Near()
    for kind in ("Chief", "Walker", "Mirror", "Hasty"):
        entry = load(f"tests.deployments.walker:{kind}")
        links, policy = Links(ledger, Direct(ledger), near), Realtime(deadline=5.0, slots=20, queue=0)
        near.replicas[entry.name] = Replica(entry, entry.agent(), policy, partial(FolderArtifacts, tmp_path), links)
    async with hosting() as host:
        for app in near.replicas.values():
            host(app)
        yield near


def errand(*walks: str, **how: Any) -> bytes:
    return json.dumps({"plans": [plan(*walk.split()) for walk in walks], **how}).encode()


def send(near: Near, body: bytes, headers: dict[str, str] | None = None) -> Call:
    return Call(near.replicas["chief"], "POST", "/run", body, headers=headers)


async def answer(near: Near, body: bytes, headers: dict[str, str] | None = None, agent: str = "chief") -> Answer:
    return await ask(near.replicas[agent], "POST", "/run", body, headers=headers)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def queued(ledger: Ledger, number: int) -> dict[str, Task]:
    """So many tasks, by agent, once their replicas have given all of them back."""
    async with asyncio.timeout(5):
        while True:
            tasks = await ledger.tasks("", Filter(), None, 10)
            if [task.state for task in tasks] == ["queued"] * number:
                return {task.agent: task for task in tasks}
            await asyncio.sleep(0.002)


async def test_they_answer_one_after_the_other_within_its_time(near: Near, ledger: Ledger) -> None:
    full = await answer(near, errand("step:a", "step:b step:c"), {"Prefer": "wait=3"})

    assert (full.status, full.json) == (200, [["A"], ["B", "C"]])
    assert [asked.task_id for asked in near.asked] == [
        derived_id("", full.headers["task-id"], "call walker", f"#{number}") for number in range(2)
    ]
    assert all(2 < asked.seconds <= 3 and not asked.may_leave for asked in near.asked)
    assert (await ledger.counts()).tasks == {}


async def test_many_answer_at_once_in_the_order_of_their_inputs(near: Near) -> None:
    body = errand(*[f"slow:{letter}" for letter in "abcdef"], together=True, parallel=4)
    call = send(near, body)
    await until(lambda: len(Walker.began) == 4)
    await asyncio.sleep(0.02)
    assert len(Walker.began) == 4
    Walker.gate.set()
    await call.task

    assert Answer([call.sent.get_nowait() for _ in range(call.sent.qsize())]).json == [[x] for x in "ABCDEF"]


async def test_one_that_fails_fails_the_run_and_says_which(near: Near) -> None:
    failed = await answer(near, errand("step:a", "within:b"))

    assert failed.problem["status"] == 500
    assert "walker" in failed.problem["detail"]
    assert "between steps" in failed.problem["detail"]


async def test_where_one_fails_the_others_of_a_map_are_cancelled(near: Near) -> None:
    call = send(near, errand("slow:a", "slow:b", "within:c", together=True))
    await call.task

    assert (await call.start())["status"] == 500
    await until(lambda: sorted(Walker.cancelled) == ["a", "b"])


async def test_one_that_has_no_room_says_when_to_come_again(near: Near) -> None:
    busy = [Call(near.replicas["walker"], "POST", "/run", json.dumps(plan("slow:x")).encode()) for _ in range(20)]
    await until(lambda: len(Walker.began) == 20)

    refused = await answer(near, errand("step:a"))

    assert refused.problem["status"] == 429
    for call in busy:
        call.leave()


async def test_a_caller_who_leaves_cancels_all_of_it(near: Near) -> None:
    call = send(near, errand("slow:a", "slow:b", together=True))
    await until(lambda: len(Walker.began) == 2)

    call.leave()

    await until(lambda: sorted(Walker.cancelled) == ["a", "b"])
    await until(lambda: all(replica.load.running == 0 for replica in near.replicas.values()))  # they have unwound
    assert {replica.abandoned for replica in near.replicas.values()} == {0}


async def test_one_that_does_not_answer_in_real_time_is_waited_for_in_the_background(
    near: Near, ledger: Ledger
) -> None:
    del near.replicas["walker"]

    assert (await answer(near, errand("step:a"))).problem["status"] == 409
    moved = await answer(near, errand("step:a"), TAKES_A_TASK)

    assert moved.status == 202
    assert (await queued(ledger, 1))["chief"].id == moved.json["id"]


async def test_they_leave_before_it_does_and_what_they_recorded_is_not_lost(near: Near, ledger: Ledger) -> None:
    moved = await answer(near, errand("step:a", "step:b slow:c"), LATE)

    assert moved.status == 202
    tasks = await queued(ledger, 2)
    parent, child = tasks["chief"], tasks["walker"]
    assert (parent.id, child.parent_id) == (moved.json["id"], parent.id)
    assert child.id == derived_id("", parent.id, "call walker", "#1")
    assert [each.name for each in await ledger.steps("", child.id) or []] == ["b"]
    assert [each.value for each in await ledger.steps("", parent.id) or []] == ['{"output":["A"]}']


async def test_in_the_background_the_run_finds_its_child(near: Near, ledger: Ledger) -> None:
    await answer(near, errand("step:a", "slow:b"), LATE)
    tasks = await queued(ledger, 2)
    walker = Hand(Direct(ledger), "walker")
    await walker.complete(await walker.take(), '["B"]')

    chief = await Hand(Direct(ledger), "chief").take()

    child = await ledger.task("", tasks["walker"].id)
    assert child is not None
    assert (child.state, chief.task.id) == ("completed", tasks["chief"].id)
    assert {str(each.id): each.value for each in chief.journal}["call walker#0"] == '{"output":["A"]}'


async def test_one_that_moves_by_itself_takes_its_caller_along(near: Near, ledger: Ledger) -> None:
    moved = await answer(near, errand("step:a promote:too-much"), TAKES_A_TASK)

    tasks = await queued(ledger, 2)
    assert moved.json["id"] == tasks["chief"].id
    assert tasks["walker"].parent_id == tasks["chief"].id


async def test_for_a_caller_who_takes_no_task_it_may_not_move_either(near: Near, ledger: Ledger) -> None:
    refused = await answer(near, errand("promote:too-much"))

    assert refused.problem["status"] == 500
    assert "submit it as a task" in refused.problem["detail"]
    assert (await ledger.counts()).tasks == {}


async def test_calls_of_calls_go_sixteen_deep(near: Near) -> None:
    assert (await answer(near, b"16", agent="mirror")).json == 16
    assert "16 deep" in (await answer(near, b"17", agent="mirror")).problem["detail"]


async def test_a_call_that_its_run_did_not_wait_for_is_answered_and_keeps_nothing_of_the_run(near: Near) -> None:
    with garbage() as left:
        for _ in range(2):
            assert (await answer(near, errand("step:a"), agent="hasty")).json == []
            assert await Hasty.calls.pop() == ["A"]

    assert left == {}
