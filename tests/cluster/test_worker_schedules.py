"""Hundreds of random schedules: whatever fails and whenever, each step is recorded once and each task ends once."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from agents import Context, Progress
from cluster.claims import Ending

from .links import AFTER, BEFORE, MemoryLink, Row
from .workers import Given, make, settle

TASKS = 6
STEPS = 4


class Schedule:
    """The dice of one run of a worker: where calls fail, how long they take, and what else happens meanwhile."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.link = MemoryLink()
        self.link.fault = self.fault
        self.link.lag = lambda: settle(self.random.randrange(4))
        self.worker = make(self.link, self.script, slots=self.random.randint(1, TASKS), pause=0, longest_pause=0)

    def fault(self, method: str) -> str:
        return self.random.choices(["", BEFORE, AFTER], [6, 2, 2])[0]

    async def script(self, ctx: Context, given: Given) -> int:
        total = 0
        for number in range(STEPS):
            await ctx.emit(Progress(message=f"before {number}"))
            total = await ctx.step("add", self.add, ctx.task_id, total, number)
            if self.random.random() < 0.05:
                raise ValueError("bad luck")
        sides = [ctx.step("side", self.add, ctx.task_id, total, side, key=str(side)) for side in range(2)]
        await asyncio.gather(*sides)
        return total

    async def add(self, task_id: str, total: int, number: int) -> int:
        await settle(self.random.randrange(3))
        return total + number

    async def run(self) -> list[Row]:
        link, worker = self.link, self.worker
        rows = [link.submit(max_attempts=100) for _ in range(TASKS)]
        run = asyncio.create_task(worker.run())
        await settle(1)
        for _ in range(100_000):
            if all(row.verdicts and not row.queued and row.task.worker is None for row in rows):
                break
            await self.meddle(rows)
        else:
            raise AssertionError("the tasks do not end")
        link.fault = lambda method: ""
        await worker.stop()
        await run
        return rows

    async def meddle(self, rows: list[Row]) -> None:
        await settle(self.random.randrange(6))
        chance = self.random.random()
        row = self.random.choice(rows)
        if chance < 0.1:
            self.worker.heartbeat.beat()
        elif chance < 0.11 and row.task.worker == "w1":
            self.link.steal(row)
            self.link.take_back(row)
        elif chance < 0.115 and row.task.worker == "w1":
            self.link.cancel(row)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "rubato.task")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 300, 50))
async def test_every_step_is_recorded_once_and_every_task_ends_once(start: int) -> None:
    for seed in range(start, start + 50):
        try:
            rows = await asyncio.wait_for(Schedule(seed).run(), 20)
            for row in rows:
                check(row)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def check(row: Row) -> None:
    adds, sides = row.steps[:STEPS], row.steps[STEPS:]
    assert adds == [f"add#{number}" for number in range(len(adds))], "once, and in order"
    assert sorted(sides) == sorted(set(sides)), "once"
    events = [said for said in row.said if "before" in said]
    assert events == [f'{{"message":"before {number}","data":null}}' for number in range(len(events))]
    final = [verdict for verdict in row.verdicts if verdict.ending not in (Ending.RETRY, Ending.RELEASED)]
    if row.cancel:
        assert len(final) <= 1
    else:
        assert [verdict.ending for verdict in final] == [Ending.COMPLETED]
    if final and final[0].ending == Ending.COMPLETED:
        assert final[0].output == str(sum(range(STEPS)))
        assert sorted(sides) == ["side:0", "side:1"]
