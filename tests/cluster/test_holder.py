"""That a process which promotes its runs reports what else they reach, and gives them back whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cluster.attempt import Why
from cluster.claims import Answer, Ending, Hello, Promotion, Report, Verdict
from cluster.errors import Unavailable
from cluster.holder import Holder
from cluster.ledger import Ledger
from cluster.pace import Pace
from cluster.reports import Line
from cluster.task import Task

from .callers import ShakyStore, settled, state
from .direct import Direct
from .making import promotion, step

Heard = list[Why]
PACE = Pace(beat=0.02, pause=0.005, longest_pause=0.01, flush=1.0)


class Link(Direct):
    """Loses the answers to so many promotions, or does not reach the ledger with so many reports."""

    answers = 0
    reports = 0

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        task = await super().promote(worker, call, promotion)
        if self.answers:
            self.answers -= 1
            raise Unavailable("lost on the way back")
        return task

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        if self.reports:
            self.reports -= 1
            raise Unavailable("lost on the way")
        return await super().report(worker, call, reports)


@pytest.fixture
async def link(ledger: Ledger) -> Link:
    return Link(ledger)


@pytest.fixture
async def holder(link: Link) -> AsyncIterator[Holder]:
    holder = Holder("1", link, PACE)
    yield holder
    await holder.close()


async def promoted(holder: Holder, heard: list[Why] | None = None) -> tuple[Task, Line]:
    task, line = await holder.promote(promotion(step("think")), (heard if heard is not None else []).append, 1.0)
    assert line is not None
    return task, line


async def until(ledger: Ledger, id: str, what: str) -> Task:
    async with asyncio.timeout(5):
        while (found := await state(ledger, id)).state != what:
            await asyncio.sleep(0.005)
    return found


async def test_what_the_run_still_reaches_is_recorded_and_the_claim_given_back(ledger: Ledger, holder: Holder) -> None:
    task, line = await promoted(holder)

    await line.record(step("look"))
    line.settle(Verdict(Ending.RELEASED))

    found = await until(ledger, task.id, "queued")
    assert (found.attempts, found.fence) == (0, 1)
    assert [each.name for each in await ledger.steps("", task.id) or []] == ["think", "look"]
    async with asyncio.timeout(5):
        while holder.held():
            await asyncio.sleep(0.005)


async def test_while_the_run_unwinds_heartbeats_keep_the_claim(ledger: Ledger, holder: Holder) -> None:
    task, _ = await promoted(holder)

    await asyncio.sleep(0.1)

    assert (await state(ledger, task.id)).worker == holder.hello.id


async def test_an_answer_that_is_lost_is_asked_for_again(ledger: Ledger, holder: Holder, link: Link) -> None:
    link.answers = 2

    task, line = await promoted(holder)

    await line.record(step("look"))
    assert (await state(ledger, task.id)).worker == holder.hello.id


@pytest.fixture
async def patient(link: Link) -> AsyncIterator[Holder]:
    """One that beats several times between two tries."""
    holder = Holder("2", link, replace(PACE, beat=0.01, pause=0.05, longest_pause=0.05))
    yield holder
    await holder.close()


async def test_heartbeats_between_two_tries_do_not_give_it_away(ledger: Ledger, patient: Holder, link: Link) -> None:
    link.answers = 2

    task, _ = await promoted(patient)

    assert (await state(ledger, task.id)).worker == patient.hello.id


async def test_where_it_is_never_confirmed_nothing_is_held_and_the_task_goes_on_elsewhere(
    ledger: Ledger, holder: Holder, link: Link
) -> None:
    link.answers = 1000
    asked = promotion(step("think"))

    with pytest.raises(Unavailable):
        await holder.promote(asked, Heard().append, 0.1)

    assert holder.held() == ()
    found = await until(ledger, asked.submission.tasks[0].id, "queued")
    assert (found.attempts, found.isolated) == (0, 0)


async def test_one_that_another_has_promoted_is_not_held_here(ledger: Ledger, holder: Holder, link: Link) -> None:
    asked = promotion(step("think"))
    other = Holder("2", link, PACE)
    await other.promote(asked, Heard().append, 1.0)

    task, line = await holder.promote(asked, Heard().append, 1.0)

    assert (task.worker, line, holder.held()) == (other.hello.id, None, ())
    await other.close()


async def test_a_cancel_reaches_the_run(ledger: Ledger, holder: Holder) -> None:
    heard: list[Why] = []
    task, line = await promoted(holder, heard)

    await ledger.cancel("", task.id)
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0.005)
    line.settle(Verdict(Ending.CANCELED))

    assert set(heard) == {Why.CANCEL}
    await until(ledger, task.id, "canceled")


async def test_a_claim_that_was_lost_says_nothing_more(ledger: Ledger, holder: Holder) -> None:
    heard: list[Why] = []
    task, line = await promoted(holder, heard)

    await ledger.worker_lost(holder.hello.id, fault=False)
    line.note(step("look"))
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0.005)

    assert (heard, line.lost, holder.held()) == ([Why.LOST], True, ())
    assert [each.name for each in await ledger.steps("", task.id) or []] == ["think"]


async def test_a_report_is_sent_until_it_arrives(ledger: Ledger, holder: Holder, link: Link) -> None:
    task, line = await promoted(holder)
    link.reports = 3

    await line.record(step("look"))

    assert len(await ledger.steps("", task.id) or []) == 2


async def test_a_process_that_ends_gives_all_back(ledger: Ledger, link: Link) -> None:
    holder = Holder("3", link, PACE)
    tasks = [(await promoted(holder))[0] for _ in range(3)]

    await holder.close()
    await holder.close()

    assert [(await state(ledger, task.id)).state for task in tasks] == ["queued"] * 3
    await settled()


async def test_one_that_promotes_nothing_starts_nothing(link: Link) -> None:
    before = len(asyncio.all_tasks())
    holder = Holder("4", link, PACE)

    await holder.close()

    assert len(asyncio.all_tasks()) == before


async def test_a_store_that_is_away_is_waited_for(ledger: Ledger, holder: Holder, store: ShakyStore) -> None:
    store.down = True
    asked = asyncio.create_task(promoted(holder))
    await asyncio.sleep(0.05)
    store.down = False

    task, _ = await asked

    assert (await state(ledger, task.id)).worker == holder.hello.id
