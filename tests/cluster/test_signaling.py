"""Signals reach a run in their order, whatever moment of it they come at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents import Context
from cluster.claims import Ending, Hello, Orders, SignalSent
from cluster.ledger import Ledger

from .callers import Caller, started
from .house import House, agent, house
from .making import hello


def change(home: House, changed: Callable[[Orders], Awaitable[Orders]]) -> Callable[[], None]:
    """From now on the worker pulls what `changed` makes of its orders, until what this returns is called."""
    link: Any = home.links["w1"]
    pull = link.pull

    async def pulled(hello: Hello, call: int) -> Orders:
        return await changed(await pull(hello, call))

    def undo() -> None:
        link.pull = pull

    link.pull = pulled
    return undo


async def listens(ctx: Context, number: int) -> list[Any]:
    return [await ctx.signal("word") for _ in range(number)]


async def test_signals_before_the_start_while_running_and_while_waiting_come_in_order() -> None:
    gate = asyncio.Event()

    async def script(ctx: Context, number: int) -> list[Any]:
        await ctx.step("gate", gate.wait)
        return await listens(ctx, number)

    async with house() as home:
        id = await home.submit("listens", 4)
        await home.ledger.signal("", id, "word", '"before"')
        await home.ledger.signal("", id, "other", '"not this"')
        home.hire(agent("listens", script))
        await home.until(id, "running")
        await home.ledger.signal("", id, "word", '"while running"')
        gate.set()
        await home.until(id, "waiting")
        await home.ledger.signal("", id, "word", '"while waiting"')
        await home.ledger.signal("", id, "word", '"and another"')
        ended = await home.ended(id)

    assert json.loads(ended.output or "") == ["before", "while running", "while waiting", "and another"]


async def test_a_signal_reaches_a_branch_that_waits_beside_one_that_works() -> None:
    working, heard = asyncio.Event(), asyncio.Event()

    async def script(ctx: Context, number: int) -> list[Any]:
        async def work() -> str:
            working.set()
            await heard.wait()
            return "worked"

        async def listen() -> Any:
            word = await ctx.signal("word")
            heard.set()
            return word

        return list(await asyncio.gather(listen(), ctx.step("work", work)))

    async with house() as home:
        home.hire(agent("both", script))
        id = await home.submit("both")
        await asyncio.wait_for(working.wait(), 10)
        await home.ledger.signal("", id, "word", "1")
        ended = await home.ended(id)

    assert (ended.output, ended.fence) == ('[1,"worked"]', 1)


async def test_a_signal_whose_news_was_lost_is_not_overtaken() -> None:
    working, go = asyncio.Event(), asyncio.Event()

    async def script(ctx: Context, number: int) -> list[Any]:
        async def work() -> None:
            working.set()
            await go.wait()

        _, *words = await asyncio.gather(
            ctx.step("work", work), ctx.signal("word", key="a"), ctx.signal("word", key="b")
        )
        return words

    async with house() as home:
        home.hire(agent("both", script))

        async def deaf_once(orders: Orders) -> Orders:
            if orders.news:
                undo()
                lost.set()
            return orders._replace(news=())

        lost = asyncio.Event()
        id = await home.submit("both")
        await asyncio.wait_for(working.wait(), 10)
        undo = change(home, deaf_once)
        await asyncio.sleep(0.02)
        await home.ledger.pull(home.workers["w1"].hello, 10_000)  # answers the parked one, which is not deaf yet
        await home.ledger.signal("", id, "word", '"first"')
        await asyncio.wait_for(lost.wait(), 10)
        await home.ledger.signal("", id, "word", '"second"')
        await asyncio.sleep(0.05)
        go.set()
        ended = await home.ended(id)

    assert (ended.output, ended.attempts, ended.fence) == ('["first","second"]', 1, 2)


async def test_a_signal_that_does_not_come_times_out_and_takes_nothing() -> None:
    async def script(ctx: Context, number: int) -> list[Any]:
        try:
            first = await ctx.signal("word", timeout=0.05)
        except TimeoutError:
            first = "none"
        return [first, await ctx.signal("word")]

    async with house() as home:
        home.hire(agent("listens", script))
        id = await home.submit("listens")
        async with asyncio.timeout(10):
            while "signal word#0" not in await home.recorded(id):
                await asyncio.sleep(0.002)
        await home.ledger.signal("", id, "word", '"late"')
        ended = await home.ended(id)

    assert ended.output == '["none","late"]'


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_signal_that_is_sent_while_the_run_unwinds_is_never_missed(delivered: bool) -> None:
    """It commits between the run's last look and its verdict: the worker is told too late, or not at all."""
    async with house() as home:
        home.hire(agent("listens", listens))
        link: Any = home.links["w1"]
        report = link.report

        async def late(hello: Any, call: int, reports: Any) -> Any:
            if any(each.verdict and each.verdict.ending == Ending.WAITING for each in reports):
                link.report = report
                await home.ledger.signal("", task_id, "word", '"just now"')
                await asyncio.sleep(0.05)
            return await report(hello, call, reports)

        async def deaf(orders: Orders) -> Orders:
            return orders if delivered else orders._replace(news=())

        link.report = late
        change(home, deaf)
        task_id = await home.submit("listens", 1)
        ended = await home.ended(task_id)

    assert (ended.output, ended.fence, ended.attempts) == ('["just now"]', 2, 1)


async def test_what_a_running_task_was_told_is_not_kept(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    claim = await started(ledger, worker)
    await ledger.signal("", claim.task.id, "word", '"payload"')
    ((_, (news,)),) = (await worker.pull()).news

    assert news == SignalSent(0, "word", '"payload"')
    assert "payload" not in repr((ledger.book.running, ledger.book.news))


async def test_news_of_a_claim_that_has_not_begun_is_not_lost() -> None:
    async with house() as home:
        home.hire(agent("listens", listens))

        async def with_news(orders: Orders) -> Orders:
            if orders.claims:
                undo()
                await home.ledger.signal("", orders.claims[0].task.id, "word", '"at once"')
                news = (await home.ledger.pull(home.workers["w1"].hello, 10_000)).news
                return orders._replace(news=news)
            return orders

        undo = change(home, with_news)
        ended = await home.ended(await home.submit("listens", 1))

    assert (ended.output, ended.fence) == ('["at once"]', 1)
