"""What goes and what stays, over every store: a part of the StoreContract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.ids import derived_id
from agents.shelves import FolderShelves
from cluster import remembering, sweeper
from cluster.book import Book
from cluster.claims import Ending, Verdict
from cluster.ledger import Ledger
from cluster.retention import DAY, Retention
from cluster.sessions import Memory, SessionRef
from cluster.store import Store
from cluster.task import TOLD, UNHEARD, Filter, Task
from cluster.terms import Terms

from .callers import Caller
from .keeping_contract import ended
from .making import COMPLETED, ManualClock, hello, progress, report, step, submission, task
from .rows import new

AGES = Retention(ended=10 * DAY, artifacts=5 * DAY, sessions=3 * DAY)


@asynccontextmanager
async def keeping(
    store: Store, clock: ManualClock, ages: Retention = AGES, folder: Path | None = None
) -> AsyncIterator[Ledger]:
    shelves = None if folder is None else partial(FolderShelves, folder)
    ledger = Ledger(store, clock.clock, terms=Terms(retention=ages, shelves=shelves, owner="me"))
    running = asyncio.create_task(ledger.run())
    yield ledger
    running.cancel()
    await asyncio.wait([running])


async def accept(ledger: Ledger, *tasks: Task) -> None:
    """Have them on record as they are."""

    def apply(book: Book, _: None) -> None:
        for each in tasks:
            book.accept(each)

    await ledger._ticks.move(apply)


async def run_to_its_end(ledger: Ledger, caller: Caller, verdict: Verdict = COMPLETED) -> Task:
    """A worker takes the next task, does a step, says something, and reports the verdict."""
    claim = await caller.claim()
    await caller.report(report(claim, 1, step(), progress(), verdict=verdict))
    found = await ledger.task(claim.task.tenant, claim.task.id)
    assert found is not None
    return found


class SweepingContract:
    """A ledger over the store whose passes are done by hand."""

    async def test_what_ended_long_ago_goes_and_the_rest_stays(self, store: Store) -> None:
        clock = ManualClock()
        async with keeping(store, clock) as ledger:
            caller = Caller(ledger, hello())
            for key in ("old", "young"):
                await ledger.submit(submission(task(created_at=clock.time), key=key, digest="d"))
                await run_to_its_end(ledger, caller)
                clock.advance(6 * DAY)
            await ledger.submit(submission(task(created_at=clock.time)))

            assert await ledger._sweeper.tasks() == 1

            assert sorted(found.state for found in await ledger.tasks("", Filter(), None, 9)) == ["completed", "queued"]
            assert await store.key("", "/v1/tasks", "old") is None
            assert await store.key("", "/v1/tasks", "young") is not None
            assert (await ledger.counts()).tasks == {"echo": {"queued": 1, "running": 0, "completed": 1}}
        assert sorted(await store.counts()) == [("echo", "completed", 1), ("echo", "queued", 1)]

    async def test_the_counts_shrink_as_after_a_restart(self, store: Store) -> None:
        clock = ManualClock()
        async with keeping(store, clock) as ledger:
            caller = Caller(ledger, hello())
            for verdict in (COMPLETED, Verdict(Ending.FAILED, error="{}"), COMPLETED):
                await ledger.submit(submission(task()))
                await run_to_its_end(ledger, caller, verdict)
            clock.advance(11 * DAY)

            assert await ledger._sweeper.tasks() == 3

            counted = {key: number for key, number in ledger.book.counts.items() if number}
        assert counted == {}
        assert await store.counts() == []

    async def test_thousands_go_in_small_ticks(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = ManualClock()
        monkeypatch.setattr(sweeper, "LOOK", 100)
        monkeypatch.setattr(sweeper, "MOST", 40)
        over = [ended(clock.time) for _ in range(250)]
        async with keeping(store, clock) as ledger:
            await accept(ledger, *over)
            clock.advance(11 * DAY)
            ticks = ledger.ticks

            assert await ledger._sweeper.tasks() == 250

            assert ledger.ticks - ticks >= 7
            assert await ledger.tasks("", Filter(), None, 9) == []

    @pytest.mark.parametrize("first", ["retry", "delete"])
    async def test_of_a_retry_and_a_delete_in_one_tick_the_first_holds(self, store: Store, first: str) -> None:
        clock, one = ManualClock(), task()
        async with keeping(store, clock) as ledger:
            await ledger.submit(submission(one))
            await ledger.cancel("", one.id)
            clock.advance(11 * DAY)
            retry, delete = ledger.retry("", one.id), ledger._sweeper._delete([one.ref], clock.time - AGES.ended)
            ticks = ledger.ticks

            if first == "retry":
                retried, gone = await asyncio.gather(retry, delete)
            else:
                gone, retried = await asyncio.gather(delete, retry)

            found = await ledger.task("", one.id)
            assert ledger.ticks == ticks + 1
            assert found == retried
            assert (gone.gone, retried is None) == ((0, False) if first == "retry" else (1, True))

    async def test_a_child_goes_with_its_parent_or_later(self, store: Store) -> None:
        clock = ManualClock()
        parent = ended(clock.time, children=2)
        told, unheard = (ended(clock.time - DAY, parent_id=parent.id, told=told) for told in (TOLD, UNHEARD))
        young = task(created_at=clock.time)
        of_young = ended(clock.time - 20 * DAY, parent_id=young.id, told=TOLD)
        async with keeping(store, clock) as ledger:
            await accept(ledger, parent, told, unheard, young, of_young)
            clock.advance(10 * DAY - 1)
            assert await ledger._sweeper.tasks() == 0

            clock.advance(2)
            assert await ledger._sweeper.tasks() == 3

            assert {each.id for each in await ledger.tasks("", Filter(), None, 9)} == {young.id, of_young.id}

    async def test_a_parent_stays_while_a_child_goes_on(self, store: Store) -> None:
        clock = ManualClock()
        parent, child = ended(clock.time, children=1), task()
        child = child._replace(parent_id=parent.id)
        await store.commit(new(parent, child))
        clock.advance(11 * DAY)
        async with keeping(store, clock) as ledger:
            gone, canceled = await asyncio.gather(
                ledger._sweeper._delete([parent.ref], clock.time - AGES.ended), ledger.cancel("", child.id)
            )
            assert (gone.gone, canceled is None) == (0, False)

            assert (await ledger._sweeper._delete([parent.ref], clock.time - AGES.ended)).gone == 1

    async def test_tasks_whose_ids_tell_no_time_go_too(self, store: Store) -> None:
        clock = ManualClock(1.9e9)
        ids = [derived_id("keyed", str(number)) for number in range(30)]
        old = [ended(clock.time, id=id) for id in ids]
        async with keeping(store, clock) as ledger:
            await accept(ledger, *old)
            clock.advance(11 * DAY)

            assert await ledger._sweeper.tasks() == 30

    async def test_a_pass_steps_over_what_cannot_have_ended_before(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        young = [task() for _ in range(50)]  # made now, by the machine's clock
        clock = ManualClock(int(young[-1].id[:8] + young[-1].id[9:13], 16) / 1000 + 60)
        monkeypatch.setattr(sweeper, "LOOK", 4)
        looks: list[Any] = []
        sweep = store.sweep

        async def counted(*args: Any) -> Any:
            looks.append(args)
            return await sweep(*args)

        monkeypatch.setattr(store, "sweep", counted)
        async with keeping(store, clock) as ledger:
            await accept(ledger, *young)
            late = [ended(clock.time - 11 * DAY, id=derived_id("late", str(number))) for number in range(8)]
            late = [each for each in late if each.id > young[0].id]
            await accept(ledger, *late)

            assert await ledger._sweeper.tasks() == len(late)

        assert len(looks) <= 2 + len(late) / 4 + 1

    async def test_for_ever_is_for_ever(self, store: Store) -> None:
        clock = ManualClock()
        async with keeping(store, clock, Retention()) as ledger:
            await asyncio.wait_for(ledger._sweeper.run(), 1)

    # sessions

    async def test_a_session_goes_when_nobody_has_written_in_it_for_long(self, store: Store) -> None:
        clock = ManualClock()
        async with keeping(store, clock) as ledger:
            for number in range(remembering.FORGET + 1):
                await ledger.remember("", "support", f"old {number}", 0, "1")
            young = await ledger.remember("", "support", "young", 0, "1")
            clock.advance(2 * DAY)
            young = await ledger.remember("", "support", "young", young.version, "2")
            assert await ledger._sweeper.sessions() == 0
            clock.advance(2 * DAY)

            assert await ledger._sweeper.sessions() == remembering.FORGET + 1

            assert await ledger.memory("", "support", "old 1") == Memory()
            assert await ledger.memory("", "support", "young") == young

    async def test_a_session_that_is_written_while_it_is_to_go_stays(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock()
        idle, turn = store.idle, asyncio.Event()

        async def slow(before: float, limit: int) -> list[SessionRef]:
            found = await idle(before, limit)
            turn.set()
            return found

        monkeypatch.setattr(store, "idle", slow)
        async with keeping(store, clock) as ledger:
            first = await ledger.remember("", "support", "s", 0, "1")
            clock.advance(4 * DAY)
            written = asyncio.create_task(ledger.remember("", "support", "s", first.version, "2"))
            swept = asyncio.create_task(ledger._sweeper.sessions())
            await asyncio.wait_for(turn.wait(), 5)

            assert (await written, await swept) == (Memory(2, "2"), 0)
            assert await ledger.memory("", "support", "s") == Memory(2, "2")
