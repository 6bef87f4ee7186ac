"""How news is cut into reports."""

from __future__ import annotations

import asyncio

from cluster.calls import Calls
from cluster.claims import Answer, Held, Hello, Orders, Report
from cluster.reports import CALL, ROOM, Line, Reporter, weight

from .links import MemoryLink
from .making import COMPLETED, progress, step
from .workers import pace, settle

HELD = ("", "t", 1)


def line() -> Line:
    return Line(HELD, lambda line: None)


class Desk:
    """A worker that only listens."""

    hello = Hello("w1", "cpu1", {})

    def __init__(self) -> None:
        self.ended: list[Held] = []

    def obey(self, call: int, orders: Orders) -> None:
        return

    def settled(self, held: list[Held]) -> None:
        self.ended += held

    def lose(self, held: Held) -> None:
        raise AssertionError("nothing is lost here")


class Batches(MemoryLink):
    """Keeps the reports of each call together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[Report, ...]] = []

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        self.batches.append(reports)
        return Answer((), Orders())


async def test_a_report_that_has_no_room_for_all_is_continued_and_the_verdict_comes_last() -> None:
    news = line()
    for number in range(5):
        news.record(step(key=f"#{number}"))
    news.settle(COMPLETED)

    reports = []
    while news.waits:
        sent, taken = news.take(2)
        reports.append(sent.report)
        assert len(sent.waiting) == len(sent.report.entries) <= taken
    assert [len(report.entries) for report in reports] == [2, 2, 1]
    assert [report.number for report in reports] == [1, 2, 3]
    assert [report.verdict for report in reports] == [None, None, COMPLETED]


async def test_a_single_entry_larger_than_the_room_goes_alone() -> None:
    news = line()
    large = step(value=f'"{"x" * 2**20}"')
    news.record(large)
    news.record(step(key="#1"))

    assert weight(large) > 60
    assert len(news.take(10)[0].report.entries) == 1
    assert len(news.take(10)[0].report.entries) == 1


async def test_large_outputs_fill_a_call_sooner() -> None:
    link, desk = Batches(), Desk()
    reporter = Reporter(link, Calls(), desk, pace())
    lines = [reporter.open(("", str(number), 1)) for number in range(100)]
    for each in lines:
        each.settle(COMPLETED._replace(output=f'"{"x" * 2**20}"'))
    run = asyncio.create_task(reporter.run())
    await settle()
    run.cancel()

    assert sorted(desk.ended) == sorted(each.held for each in lines)
    assert max(map(len, link.batches)) == 1 + CALL // weight(step(value="x" * 2**20))


async def test_large_events_fill_the_room_sooner() -> None:
    news = line()
    large = progress("x" * 2**20)
    emits = [asyncio.create_task(news.emit(large)) for _ in range(2 * ROOM // weight(large))]
    await settle()

    assert sum(not emit.done() for emit in emits) > len(emits) // 3
    while news.waits:
        news.take(CALL)
    await asyncio.wait_for(asyncio.gather(*emits), 5)


async def test_a_call_is_bounded_and_every_claim_gets_its_turn() -> None:
    link, desk = Batches(), Desk()
    reporter = Reporter(link, Calls(), desk, pace())
    lines = [reporter.open(("", str(number), 1)) for number in range(5)]
    for each in lines:
        for _ in range(ROOM):
            await each.emit(progress())
        each.settle(COMPLETED)
    run = asyncio.create_task(reporter.run())
    await settle()
    run.cancel()

    assert all(sum(len(report.entries) for report in batch) <= CALL for batch in link.batches)
    assert {report.task_id for batch in link.batches[:3] for report in batch} == {"0", "1", "2", "3", "4"}
    assert sum(len(report.entries) for batch in link.batches for report in batch) == 5 * ROOM
    assert sorted(desk.ended) == [each.held for each in lines]
