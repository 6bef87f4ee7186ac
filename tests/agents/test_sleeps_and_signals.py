"""Sleeps last from when the run first came there; signals are taken in order, one a wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from agents import Context, Permanent, SignalTimeout
from agents.errors import StepError
from agents.waits import SignalSent

from .scripted import Part, host, waiting

# sleep


async def test_a_sleep_waits_from_when_the_run_first_came_there() -> None:
    async def script(ctx: Context) -> str:
        await ctx.sleep(100)
        return "awake"

    sleeper = host(script)
    assert (await waiting(sleeper)).seconds == pytest.approx(100, abs=1)
    sleeper.advance(60)
    assert (await waiting(sleeper)).seconds == pytest.approx(40, abs=1)
    sleeper.advance(41)

    assert await sleeper.run() == "awake"
    assert sleeper.attempts == 1
    assert [str(record.id) for record in sleeper.journal] == ["sleep#0"]


async def test_finish_lets_the_time_pass() -> None:
    async def script(ctx: Context) -> int:
        for _ in range(3):
            await ctx.sleep(3600)
        return 3

    assert await host(script).finish(None) == 3


@pytest.mark.parametrize("seconds", [0, -5, True, "1", float("nan"), float("inf"), float("-inf"), 1e10])
async def test_only_a_number_of_seconds_up_to_a_year_can_be_slept(seconds: Any) -> None:
    async def script(ctx: Context) -> str:
        await ctx.sleep(seconds)
        return "awake"

    if isinstance(seconds, int) and not isinstance(seconds, bool):
        assert await host(script).run(None) == "awake"
    else:
        with pytest.raises(StepError, match=r"sleep#0.*at most a year"):
            await host(script).run(None)


async def test_a_replayed_sleep_may_be_given_other_seconds() -> None:
    """They often come from the clock."""
    asked = iter([100, 1])

    async def script(ctx: Context) -> str:
        await ctx.sleep(next(asked))
        return "awake"

    sleeper = host(script)
    await waiting(sleeper)
    sleeper.advance(101)

    assert await sleeper.run() == "awake"


# signal


async def test_signals_are_taken_in_order_one_a_wait_whenever_they_were_sent() -> None:
    async def script(ctx: Context) -> list[Any]:
        return [await ctx.signal("word") for _ in range(3)]

    listener = host(script)
    listener.send("word", "before")
    listener.send("other", "never")
    assert (await waiting(listener)).signals == ("word",)
    assert not listener._kept.ready, "no one waits for the other"
    listener.send("word", {"while": "waiting"})
    listener.send("word", None)

    assert await listener.run() == ["before", {"while": "waiting"}, None]


async def test_a_signal_that_comes_while_a_step_runs_goes_on_in_the_same_run() -> None:
    runs = 0

    async def script(ctx: Context) -> Any:
        nonlocal runs
        runs += 1

        async def work() -> str:
            listener.send("word", "while running")
            await asyncio.sleep(0.01)
            return "worked"

        return await asyncio.gather(ctx.signal("word"), ctx.step("work", work))

    listener = host(script)

    assert await listener.run(None) == ["while running", "worked"]
    assert runs == 1


async def test_a_payload_comes_as_the_type_that_was_asked_for() -> None:
    async def script(ctx: Context) -> int:
        found = await ctx.signal("part", returns=Part)
        assert isinstance(found, Part)
        return found.weight

    listener = host(script)
    listener.send("part", {"Weight": 3})
    assert await listener.run(None) == 3

    other = host(script)
    other.send("part", {"Weight": "heavy"})
    with pytest.raises(StepError, match=r"signal part#0.*not a Part.*Weight"):
        await other.run(None)


async def test_a_timeout_ends_the_wait_for_good() -> None:
    async def script(ctx: Context) -> str:
        try:
            return str(await ctx.signal("word", timeout=10))
        except TimeoutError:
            return await ctx.signal("word")  # type: ignore[no-any-return]

    listener = host(script)
    await waiting(listener)
    listener.advance(11)
    assert (await waiting(listener)).seconds is None
    listener.send("word", "late")

    assert await listener.run() == "late"


async def test_a_signal_that_is_there_is_taken_though_the_time_is_over() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.signal("word", timeout=10)

    listener = host(script)
    await waiting(listener)
    listener.send("word", "just")
    listener.advance(11)

    assert await listener.run() == "just"


@pytest.mark.parametrize(("name", "key"), [("word until", None), ("word", "until"), ("word/until", None)])
async def test_a_timeouts_moment_is_no_other_step(name: str, key: str | None) -> None:
    async def script(ctx: Context) -> Any:
        with contextlib.suppress(TimeoutError):
            await ctx.signal("word", timeout=10)
        return [await ctx.signal(name, key=key), await ctx.step(f"signal {name}", lambda: 2)]

    listener = host(script)
    await waiting(listener)
    listener.advance(11)
    await waiting(listener)
    listener.send(name, 1)

    assert await listener.run() == [1, 2]


async def test_a_timeout_that_nobody_catches_is_not_tried_again() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.signal("word", timeout=10)

    with pytest.raises(SignalTimeout, match="no signal 'word' came in time") as caught:
        await host(script).finish(None)
    assert isinstance(caught.value, Permanent)


async def test_two_keyed_waits_share_what_comes() -> None:
    async def script(ctx: Context) -> Any:
        return await asyncio.gather(ctx.signal("word", key="a"), ctx.signal("word", key="b"))

    listener = host(script)
    listener.send("word", 1)
    await waiting(listener)
    listener.send("word", 2)

    assert await listener.run() == [1, 2]


async def test_a_signal_that_a_cancelled_branch_would_have_taken_is_left_to_the_other() -> None:
    async def script(ctx: Context) -> Any:
        first = asyncio.create_task(ctx.signal("word", key="a"))
        second = asyncio.create_task(ctx.signal("word", key="b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        listener.send("word", 1)  # both wake, and the first would take it
        first.cancel()
        return await second

    listener = host(script)

    assert await listener.run(None) == 1


async def test_signals_that_arrive_out_of_order_are_taken_in_order() -> None:
    async def script(ctx: Context) -> Any:
        async def work() -> None:
            live = listener._live
            assert live is not None
            for number in (2, 0, 1):
                live.hear(SignalSent(number, "word", str(number)))

        return [await asyncio.gather(*(ctx.signal("word", key=str(n)) for n in range(3)), ctx.step("work", work))]

    listener = host(script)

    assert await listener.run(None) == [[0, 1, 2, None]]
