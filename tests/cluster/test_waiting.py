"""Agents that sleep, wait for signals and call each other, on real workers and a real ledger."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from agents import ChildFailed, Context, Permanent, Progress, Retryable
from cluster.claims import Ending
from cluster.durable import RESULT_LIMIT

from .house import agent, house
from .making import ManualClock


def error(task: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(task.error or "{}")
    return found


async def double(ctx: Context, number: int) -> int:
    return await ctx.step("double", lambda: 2 * number)


# sleep


async def naps(ctx: Context, number: int) -> str:
    await ctx.step("before", lambda: 1)
    await ctx.sleep(number / 1000)
    await ctx.step("after", lambda: 2)
    return "awake"


async def test_a_sleep_holds_no_slot_and_is_no_attempt() -> None:
    async with house() as home:
        home.hire(agent("naps", naps), slots=1)
        ids = [await home.submit("naps", 100) for _ in range(20)]
        tasks = [await home.ended(id) for id in ids]

        assert [(task.output, task.attempts) for task in tasks] == [('"awake"', 1)] * 20
        assert await home.recorded(ids[0]) == ["before#0", "sleep#0", "after#0"]
        kinds = [kind for kind in await home.events(ids[0]) if kind != "step.completed"]
        assert kinds == ["attempt.started", "waiting", "output"]


async def test_a_sleep_goes_on_after_the_ledger_and_the_worker_died() -> None:
    async with house() as home:
        home.hire(agent("naps", naps))
        id = await home.submit("naps", 200)
        await home.until(id, "waiting")
        await home.kill()
        await home.close()
        await asyncio.sleep(0.25)
        await home.open()
        home.hire(agent("naps", naps), id="w2")

        ended = await home.ended(id)

    assert (ended.output, ended.attempts) == ('"awake"', 1)


async def test_a_worker_that_dies_over_a_run_that_slept_costs_nothing_and_repeats_nothing() -> None:
    ran: list[str] = []
    stuck = asyncio.Event()

    async def script(ctx: Context, number: int) -> str:
        await ctx.step("before", ran.append, "before")
        await ctx.sleep(0.02)
        await ctx.step("between", ran.append, "between")
        if not stuck.is_set():
            stuck.set()
            await asyncio.sleep(3600)
        return "awake"

    async with house() as home:
        home.hire(agent("naps", script))
        id = await home.submit("naps")
        await asyncio.wait_for(stuck.wait(), 10)
        await home.kill()
        home.hire(agent("naps", script), id="w2")
        ended = await home.ended(id)

    assert (ended.output, ended.attempts, ran) == ('"awake"', 1, ["before", "between"])


async def test_a_sleep_beside_a_working_branch_ends_in_the_same_claim() -> None:
    async def script(ctx: Context, number: int) -> Any:
        async def nap() -> str:
            await ctx.sleep(0.02)
            return await ctx.step("rested", lambda: "rested")

        return await asyncio.gather(nap(), ctx.step("work", asyncio.sleep, 0.2))

    async with house() as home:
        home.hire(agent("both", script))
        ended = await home.ended(id := await home.submit("both"))

        assert (ended.output, ended.fence) == ('["rested",null]', 1)
        assert await home.recorded(id) == ["sleep#0", "rested#0", "work#0"]


# time


async def test_running_seconds_add_up_over_waits() -> None:
    clock = ManualClock()
    beat = asyncio.Event()

    async def script(ctx: Context, number: int) -> int:
        for turn in range(10):
            if turn == len(remaining):
                remaining.append(ctx.remaining())
                clock.advance(4)  # of running
                beat.set()
            await ctx.sleep(1000)
        return number

    remaining: list[float] = []
    async with house(clock) as home:
        home.hire(agent("long", script))
        id = await home.submit("long", timeout=10.0, max_attempts=1)
        for turn in range(2):
            waiting = await home.until(id, "waiting")
            assert waiting.ran == 4.0 * (turn + 1)
            clock.advance(1001)
            beat.clear()
            await asyncio.wait_for(beat.wait(), 10)
        waiting = await home.until(id, "waiting")
        assert waiting.ran == 12.0
        clock.advance(1001)
        ended = await home.ended(id)

    assert remaining == [pytest.approx(10, abs=1), pytest.approx(6, abs=1), pytest.approx(2, abs=1)]
    assert (ended.state, error(ended)["type"], ended.attempts) == ("failed", "timeout", 1)


async def test_an_attempt_after_a_failed_one_has_all_its_time_again() -> None:
    clock = ManualClock()
    remaining: list[float] = []

    async def script(ctx: Context, number: int) -> int:
        remaining.append(ctx.remaining())
        clock.advance(8)
        await ctx.sleep(1)
        if ctx.attempt == 1:
            raise Retryable("again", after=1)
        return number

    async with house(clock) as home:
        home.hire(agent("long", script))
        id = await home.submit("long", timeout=20.0)
        await home.until(id, "waiting")
        clock.advance(2)
        while not (await home.until(id, "queued")).run_at:
            await asyncio.sleep(0.002)
        clock.advance(1)
        await home.ended(id)

    assert remaining == [pytest.approx(each, abs=1.5) for each in (20, 12, 20)]


async def test_a_deadline_ends_a_run_as_expired_and_it_is_not_tried_again() -> None:
    async def script(ctx: Context, number: int) -> None:
        assert ctx.remaining() < 1
        await asyncio.sleep(3600)

    async with house() as home:
        home.hire(agent("slow", script))
        now = home.ledger._clock.now()
        ended = await home.ended(await home.submit("slow", deadline=now + 0.3))

    assert (ended.state, ended.attempts) == ("failed", 1)
    assert error(ended) == {
        "type": "expired",
        "title": "The deadline passed",
        "detail": "The task was not over when its deadline passed.",
        "step": None,
        "attempt": 1,
    }


async def test_a_parents_deadline_ends_its_children() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("slow", [1, 2])

    async def slow(ctx: Context, number: int) -> None:
        if number == 1:
            await asyncio.sleep(3600)
        await ctx.signal("never")

    async with house() as home:
        home.hire(agent("parent", parent), agent("slow", slow))
        id = await home.submit("parent", deadline=home.ledger._clock.now() + 0.4)
        ended = await home.ended(id)
        children = [await home.ended(child.id) for child in await home.children(id)]

    assert error(ended)["type"] == "expired"
    assert [child.deadline for child in children] == [ended.deadline] * 2
    assert {child.state for child in children} <= {"failed", "canceled"}
    assert len(children) == 2


async def test_a_tasks_own_retry_policy_goes_before_its_agents() -> None:
    clock = ManualClock()
    runs: list[float] = []

    async def script(ctx: Context, number: int) -> None:
        runs.append(clock.time)
        raise ValueError("again")

    async with house(clock) as home:
        home.hire(agent("flaky", script))
        extra = '{"retry": {"base": 70, "cap": 70, "jitter": 0}}'
        id = await home.submit("flaky", max_attempts=2, extra=extra)
        while not (waits := await home.task(id)).run_at:
            await asyncio.sleep(0.002)

    assert waits.run_at == pytest.approx(clock.time + 70)


# signals


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
        link: Any = home.links["w1"]
        pull = link.pull

        async def deaf_once(hello: Any, call: int) -> Any:
            orders = await pull(hello, call)
            if orders.news:
                link.pull = pull
                lost.set()
            return orders._replace(news=())

        lost = asyncio.Event()
        id = await home.submit("both")
        await asyncio.wait_for(working.wait(), 10)
        link.pull = deaf_once
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
        report, pull = link.report, link.pull

        async def late(hello: Any, call: int, reports: Any) -> Any:
            if any(each.verdict and each.verdict.ending == Ending.WAITING for each in reports):
                link.report = report
                await home.ledger.signal("", task_id, "word", '"just now"')
                await asyncio.sleep(0.05)
            return await report(hello, call, reports)

        async def deaf(hello: Any, call: int) -> Any:
            orders = await pull(hello, call)
            return orders if delivered else orders._replace(news=())

        link.report, link.pull = late, deaf
        task_id = await home.submit("listens", 1)
        ended = await home.ended(task_id)

    assert (ended.output, ended.fence, ended.attempts) == ('["just now"]', 2, 1)


async def test_news_of_a_claim_that_has_not_begun_is_not_lost() -> None:
    async with house() as home:
        home.hire(agent("listens", listens))
        link: Any = home.links["w1"]
        pull = link.pull

        async def with_news(hello: Any, call: int) -> Any:
            orders = await pull(hello, call)
            if orders.claims:
                link.pull = pull
                await home.ledger.signal("", orders.claims[0].task.id, "word", '"at once"')
                orders = orders._replace(news=(await pull(hello, call + 1000)).news)
            return orders

        link.pull = with_news
        ended = await home.ended(await home.submit("listens", 1))

    assert (ended.output, ended.fence) == ('["at once"]', 1)


# calls


async def calls(ctx: Context, number: int) -> Any:
    return await ctx.call("double", number)


async def test_a_worker_with_one_slot_runs_a_parent_and_its_child() -> None:
    async with house() as home:
        home.hire(agent("double", double), agent("calls", calls), slots=1)
        id = await home.submit("calls", 4, priority=3, tags='["mine"]')
        ended = await home.ended(id)
        (child,) = await home.children(id)

    assert (ended.output, ended.attempts, ended.fence) == ("8", 1, 2)
    assert (child.output, child.parent_id, child.priority, child.version) == ("8", id, 3, "v1")


async def test_a_chain_of_sixteen_needs_one_slot_and_the_seventeenth_is_refused() -> None:
    async def deep(ctx: Context, left: int) -> int:
        return 1 + await ctx.call("deep", left - 1) if left else 0

    async with house() as home:
        home.hire(agent("deep", deep), slots=1)
        deepest = await home.ended(await home.submit("deep", 16))
        too_deep = await home.ended(await home.submit("deep", 17))

    assert deepest.output == "16"
    assert (too_deep.state, error(too_deep)["type"]) == ("failed", "child_failed")
    assert "at most 16 deep" in error(too_deep)["detail"]


async def test_a_child_is_tried_again_by_itself_and_its_failure_is_its_parents() -> None:
    async def flaky(ctx: Context, last: int) -> int:
        if ctx.attempt < last:
            raise Retryable("not yet", after=0.001)
        return ctx.attempt

    async def parent(ctx: Context, number: int) -> Any:
        good = await ctx.call("flaky", 3)
        try:
            await ctx.call("flaky", 4)
        except ChildFailed as failed:
            return [good, failed.task_id, failed.error["type"]]

    async with house() as home:
        home.hire(agent("flaky", flaky, max_attempts=3), agent("parent", parent))
        id = await home.submit("parent")
        ended = await home.ended(id)
        children = await home.children(id)

    assert json.loads(ended.output or "") == [3, children[1].id, "retryable"]
    assert [child.attempts for child in children] == [3, 3]
    assert ended.attempts == 1


async def test_a_failure_that_nobody_catches_is_told_with_the_child_and_not_tried_again() -> None:
    async def fails(ctx: Context, number: int) -> None:
        raise Permanent("no such part")

    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.call("fails", number)

    async with house() as home:
        home.hire(agent("fails", fails), agent("parent", parent))
        ended = await home.ended(id := await home.submit("parent"))
        (child,) = await home.children(id)

    found = error(ended)
    assert (found["type"], found["step"], ended.attempts) == ("child_failed", "call fails#0", 1)
    assert "no such part" in found["detail"]
    assert child.id in found["detail"]


async def test_a_replay_calls_no_child_again() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        first = await ctx.call("double", 1)
        if ctx.attempt < 3:
            raise ValueError("again")
        return [first, await ctx.call("double", 2)]

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        ended = await home.ended(id := await home.submit("parent"))
        children = await home.children(id)

    assert (ended.output, ended.attempts) == ("[2,4]", 3)
    assert [child.input for child in children] == ["1", "2"]


async def test_a_parent_that_is_tried_again_goes_on_with_the_child_that_still_runs() -> None:
    go, attempts = asyncio.Event(), list[int]()

    async def slow(ctx: Context, number: int) -> int:
        await ctx.step("gate", go.wait)
        return number

    async def parent(ctx: Context, number: int) -> Any:
        attempts.append(ctx.attempt)
        child = asyncio.ensure_future(ctx.call("slow", 7))
        await ctx.step("let it be called", asyncio.sleep, 0.02, key=str(ctx.attempt))
        if ctx.attempt == 1:
            child.cancel()
            raise ValueError("again")
        go.set()
        return await child

    async with house() as home:
        home.hire(agent("slow", slow), agent("parent", parent))
        ended = await home.ended(id := await home.submit("parent"))
        (child,) = await home.children(id)

    assert (ended.output, ended.attempts, child.attempts) == ("7", 2, 1)


async def test_a_child_that_ends_beside_a_working_branch_is_heard_of_in_the_same_claim() -> None:
    heard = asyncio.Event()

    async def parent(ctx: Context, number: int) -> Any:
        async def call() -> Any:
            found = await ctx.call("double", number)
            heard.set()
            return found

        return await asyncio.gather(call(), ctx.step("work", heard.wait))

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        ended = await home.ended(await home.submit("parent", 3))

    assert (ended.output, ended.fence) == ("[6,true]", 1)


async def test_children_run_on_workers_of_another_kind() -> None:
    twice, caller = agent("double", double, max_attempts=7, timeout=5.0), agent("calls", calls)
    async with house() as home:
        home.hire(caller, id="w1", callees=[twice, caller])
        home.hire(twice, id="w2")
        ended = await home.ended(id := await home.submit("calls", 4))
        (child,) = await home.children(id)

    assert ended.output == "8"
    assert (child.max_attempts, child.timeout) == (7, 5.0)


async def test_a_call_of_an_agent_that_nobody_runs_fails_and_names_those_there_are() -> None:
    async with house() as home:
        home.hire(agent("calls", calls), agent("triple", double))
        ended = await home.ended(id := await home.submit("calls"))
        assert await home.children(id) == []

    found = error(ended)
    assert (found["type"], found["step"], ended.attempts) == ("unknown_agent", "call double#0", 1)
    assert found["detail"] == "no agent 'double' runs in the background here; those that do: calls, triple"


async def test_an_input_over_the_limit_is_refused_and_the_way_is_named() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.call("echo", "x" * (RESULT_LIMIT - 2 + number))

    async def echo(ctx: Context, number: int) -> int:
        return number

    async with house() as home:
        home.hire(agent("parent", parent), agent("echo", echo))
        fits = await home.ended(await home.submit("parent", 0))
        over = await home.ended(await home.submit("parent", 1))

    assert error(fits)["type"] == "child_failed", "it is called, and is no number"
    assert error(over)["type"] == "step_error"
    assert "ctx.artifact" in error(over)["detail"]


# maps


async def test_a_map_of_many_in_a_few_slots_comes_back_in_order() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("double", range(number), parallel=5)

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent), slots=2)
        ended = await home.ended(id := await home.submit("parent", 40))
        children = await home.children(id)

    assert json.loads(ended.output or "") == [2 * n for n in range(40)]
    assert len(children) == 40
    assert ended.attempts == 1
    assert ended.fence <= 25, "it is woken when half of those in flight have ended, not for each"


async def test_a_parallel_map_never_has_more_in_flight() -> None:
    flying, most = 0, 0

    async def flies(ctx: Context, number: int) -> None:
        async def fly() -> None:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.002)
            flying -= 1

        await ctx.step("fly", fly)

    async def parent(ctx: Context, number: int) -> None:
        await ctx.map("flies", range(20), parallel=number)

    async with house() as home:
        home.hire(agent("flies", flies), agent("parent", parent), slots=20)
        assert (await home.ended(await home.submit("parent", 3))).state == "completed"

    assert most == 3


async def test_a_map_without_a_bound_is_woken_once() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("double", range(number))

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        ended = await home.ended(await home.submit("parent", 30))

    assert (json.loads(ended.output or ""), ended.fence) == ([2 * n for n in range(30)], 2)


# ends


async def hangs(ctx: Context, number: int) -> None:
    await asyncio.sleep(3600)


async def test_canceling_a_parent_that_waits_cancels_its_children_at_once_started_or_not() -> None:
    async def parent(ctx: Context, number: int) -> Any:
        return await ctx.map("hangs", range(4))

    async with house() as home:
        both = agent("parent", parent), agent("hangs", hangs)
        home.hire(both[0], slots=1, callees=both)
        worker = home.hire(both[1], id="w2", slots=2)
        worker.heartbeat.stop()  # its pull must tell it
        id = await home.submit("parent")
        await home.until(id, "waiting")
        while len(worker.held()) < 2:
            await asyncio.sleep(0.002)
        canceled = await home.ledger.cancel("", id)
        children = [await home.ended(child.id) for child in await home.children(id)]

        assert canceled is not None
        assert (canceled.state, len(children)) == ("canceled", 4)
        assert {child.state for child in children} == {"canceled"}


async def test_canceling_a_running_parent_ends_a_branch_that_waits_and_lets_it_call_nobody() -> None:
    unwound: list[str] = []
    working = asyncio.Event()

    async def parent(ctx: Context, number: int) -> None:
        async def wait() -> None:
            try:
                await ctx.signal("never")
            except asyncio.CancelledError:
                unwound.append("cancelled")
                await ctx.call("double", 1)

        async def work() -> None:
            working.set()
            await asyncio.sleep(3600)

        await asyncio.gather(wait(), ctx.step("work", work))

    async with house() as home:
        home.hire(agent("double", double), agent("parent", parent))
        id = await home.submit("parent")
        await asyncio.wait_for(working.wait(), 10)
        await home.ledger.cancel("", id)
        ended = await home.ended(id)

        assert (ended.state, unwound) == ("canceled", ["cancelled"])
        assert await home.children(id) == []


async def test_a_worker_that_stops_gives_back_a_run_with_a_branch_that_waits() -> None:
    async def script(ctx: Context, number: int) -> Any:
        return await asyncio.gather(ctx.signal("word"), ctx.step("work", asyncio.sleep, number))

    async with house() as home:
        first = home.hire(agent("both", script))
        id = await home.submit("both", 3600)
        await home.until(id, "running")
        await first.stop()
        assert (await home.task(id)).attempts == 0

        home.hire(agent("both", script), id="w2")
        await home.until(id, "running")
        await home.ledger.cancel("", id)
        assert (await home.ended(id)).state == "canceled"


async def test_a_worker_that_drains_is_done_with_a_run_that_waits() -> None:
    async def script(ctx: Context, number: int) -> Any:
        await ctx.step("work", asyncio.sleep, 0.05)
        return await ctx.signal("word")

    async with house() as home:
        first = home.hire(agent("both", script))
        id = await home.submit("both")
        await home.until(id, "running")
        await asyncio.wait_for(first.drain(), 10)

        assert (await home.task(id)).state == "waiting"


async def test_a_run_that_swallows_its_wait_waits_and_records_nothing_more() -> None:
    async def script(ctx: Context, number: int) -> str:
        try:
            await ctx.signal("word")
        except BaseException:
            await ctx.emit(Progress(message="swallowed"))
            raise
        return "heard"

    async def returns(ctx: Context, number: int) -> str:
        found = await asyncio.gather(ctx.signal("word"), return_exceptions=True)
        return str(found[0])

    async with house() as home:
        home.hire(agent("emits", script), agent("returns", returns))
        ids = [await home.submit("emits"), await home.submit("returns")]
        for id in ids:
            await home.until(id, "waiting")
            await home.ledger.signal("", id, "word", '"go"')
        ended = [await home.ended(id) for id in ids]

        assert [task.output for task in ended] == ['"heard"', '"go"']
        assert "progress" not in await home.events(ids[0])


async def test_a_run_that_does_not_unwind_waits_and_its_worker_drains() -> None:
    go = asyncio.Event()

    async def clings(ctx: Context, number: int) -> None:
        while not go.is_set():
            with suppress(BaseException):
                await ctx.signal("word")

    async with house() as home:
        worker = home.hire(agent("clings", clings))
        id = await home.submit("clings")

        await home.until(id, "waiting")
        assert worker._poisoned
        go.set()


# again


async def test_a_retried_parent_takes_up_the_children_that_ended_with_it() -> None:
    broken = True

    async def child(ctx: Context, number: int) -> Any:
        await ctx.step("began", lambda: None)
        return await ctx.signal("word") if number else "quick"

    async def parent(ctx: Context, number: int) -> Any:
        calls = [asyncio.ensure_future(ctx.call("child", n, key=str(n))) for n in (0, 1)]
        await ctx.step("look", asyncio.sleep, 0.1, key=str(ctx.attempt))
        if broken:
            raise Permanent("a bug")
        return await asyncio.gather(*calls)

    async with house() as home:
        home.hire(agent("child", child), agent("parent", parent))
        id = await home.submit("parent")
        assert (await home.ended(id)).state == "failed"
        children = [await home.ended(each.id) for each in await home.children(id)]
        assert sorted(each.state for each in children) == ["canceled", "completed"]

        broken = False
        await home.ledger.retry("", id)
        slow = next(each for each in children if each.state == "canceled")
        await home.until(slow.id, "waiting")
        await home.ledger.signal("", slow.id, "word", '"slow"')
        ended = await home.ended(id)

        assert ended.output == '["quick","slow"]'
        assert len(await home.children(id)) == 2
        assert (await home.events(slow.id)).count("step.completed") == 2
