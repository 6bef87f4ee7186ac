"""Whatever an author's code does ends as one verdict, and harms no neighbour."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents import Agent, Context, Permanent, Progress, Retryable, TextDelta
from agents.testing import Crash
from cluster.claims import Ending, Hello, Verdict
from cluster.durable import RESULT_BYTES
from cluster.reports import CALL, ROOM
from cluster.worker import Worker

from .links import MemoryLink
from .workers import Deaths, Given, Script, one, pace, settle, working


async def verdict_on(script: Script, **changes: Any) -> Verdict:
    """How one attempt ends, with a neighbour on the worker that must not notice."""
    go = asyncio.Event()

    async def both(ctx: Context, given: Given) -> int:
        if given.n == 1:
            await go.wait()
            return 1
        result: int = await script(ctx, given)
        return result

    link, deaths = MemoryLink(), Deaths()
    async with working(link, both, die=deaths) as worker:
        neighbour, row = link.submit('{"n": 1}'), link.submit(**({"max_attempts": 1} | changes))
        await link.until(lambda: len(row.verdicts) == 1)
        go.set()
        await link.ended(neighbour)
        assert len(row.verdicts) == 1
        await worker.stop()
    assert neighbour.verdicts == [Verdict(Ending.COMPLETED, output="1")]
    assert deaths.count == 0
    return row.verdicts[0]


def raising(error: BaseException) -> Script:
    async def script(ctx: Context, given: Given) -> int:
        raise error

    return script


def raising_in_step(error: BaseException, *, cancellable: bool = True, made_by_lambda: bool = False) -> Script:
    async def step() -> int:
        await asyncio.sleep(0)
        raise error

    async def script(ctx: Context, given: Given) -> int:
        fn = (lambda: step()) if made_by_lambda else step
        return await ctx.step("draft", fn, cancellable=cancellable)

    return script


def raising_in_thread(error: BaseException) -> Script:
    def step() -> int:
        raise error

    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("draft", step)

    return script


async def cancels_itself(ctx: Context, given: Given) -> int:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return 1


async def cancels_its_step(ctx: Context, given: Given) -> int:
    async def step() -> int:
        raise asyncio.CancelledError

    return await ctx.step("draft", step)


async def returns_text(ctx: Context, given: Given) -> Any:
    return "three"


async def recurses(ctx: Context, given: Given) -> int:
    return await recurses(ctx, given)


def told(verdict: Verdict) -> tuple[str, str, str | None]:
    error = json.loads(verdict.error or "")
    return error["type"], error["title"], error["step"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (raising(ValueError("x")), ("error", "ValueError", None)),
        (raising(Permanent("x")), ("permanent", "Permanent", None)),
        (raising(Retryable("x", after=5)), ("retryable", "Retryable", None)),
        (raising(MemoryError("x")), ("error", "MemoryError", None)),
        (raising(SystemExit(3)), ("error", "SystemExit", None)),
        (raising(KeyboardInterrupt()), ("error", "KeyboardInterrupt", None)),
        (raising(GeneratorExit()), ("error", "GeneratorExit", None)),
        (raising(Crash()), ("error", "Crash", None)),
        (raising(asyncio.CancelledError()), ("error", "CancelledError", None)),
        (raising(StopIteration()), ("error", "RuntimeError", None)),
        (recurses, ("error", "RecursionError", None)),
        (cancels_itself, ("error", "CancelledError", None)),
        (cancels_its_step, ("error", "CancelledError", None)),
        (raising_in_step(ValueError("x")), ("error", "ValueError", "draft#0")),
        (raising_in_step(Permanent("x")), ("permanent", "Permanent", "draft#0")),
        (raising_in_step(SystemExit(3)), ("error", "RuntimeError", "draft#0")),
        (raising_in_step(KeyboardInterrupt()), ("error", "RuntimeError", "draft#0")),
        (raising_in_step(SystemExit(3), cancellable=False), ("error", "RuntimeError", "draft#0")),
        (raising_in_step(SystemExit(3), made_by_lambda=True), ("error", "RuntimeError", "draft#0")),
        (raising_in_step(ValueError("x"), made_by_lambda=True), ("error", "ValueError", "draft#0")),
        (raising_in_thread(ValueError("x")), ("error", "ValueError", "draft#0")),
        (raising_in_thread(SystemExit(3)), ("error", "RuntimeError", "draft#0")),
        (raising_in_thread(StopIteration()), ("error", "RuntimeError", "draft#0")),
        (returns_text, ("invalid_output", "InvalidOutput", None)),
    ],
)
async def test_an_attempt_that_goes_wrong_fails_with_the_reason(
    script: Script, expected: tuple[str, str, str | None]
) -> None:
    verdict = await verdict_on(script)

    assert verdict.ending == Ending.FAILED
    assert told(verdict) == expected


async def test_an_attempt_is_tried_again_while_attempts_are_left() -> None:
    link = MemoryLink()
    async with working(link, raising(ValueError("x"))):
        row = link.submit(max_attempts=3)
        await link.ended(row)

    endings = [(verdict.ending, verdict.retry_at) for verdict in row.verdicts]
    assert endings == [(Ending.RETRY, 1010.0), (Ending.RETRY, 1020.0), (Ending.FAILED, 0.0)]
    assert [json.loads(verdict.error or "")["attempt"] for verdict in row.verdicts] == [1, 2, 3]


async def test_a_wrong_output_is_not_tried_again() -> None:
    assert (await verdict_on(returns_text, max_attempts=3)).ending == Ending.FAILED


async def test_an_input_that_does_not_fit_fails_and_says_what_is_wrong() -> None:
    verdict = await verdict_on(one, input='{"n": "many", "m": 1}', max_attempts=3)

    assert verdict.ending == Ending.FAILED
    assert told(verdict)[0] == "invalid_input"
    assert "n: " in (verdict.error or "")
    assert "m: " in (verdict.error or "")


async def test_an_attempt_past_its_timeout_is_cancelled_and_counted() -> None:
    unwound = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        try:
            await asyncio.sleep(3600)
        finally:
            unwound.set()
        return 1

    verdict = await verdict_on(script, timeout=0.05)

    assert verdict.ending == Ending.FAILED
    assert told(verdict)[0] == "timeout"
    assert unwound.is_set()


async def test_a_timeout_is_tried_again_while_attempts_are_left() -> None:
    async def script(ctx: Context, given: Given) -> int:
        if ctx.attempt == 1:
            await asyncio.sleep(3600)
        return 1

    link = MemoryLink()
    async with working(link, script):
        row = link.submit(timeout=0.05)
        await link.ended(row)

    assert [verdict.ending for verdict in row.verdicts] == [Ending.RETRY, Ending.COMPLETED]


async def test_an_agent_that_this_worker_does_not_have_fails_the_task() -> None:
    link = MemoryLink()
    worker = Worker(Hello("w1", "cpu1", {"scripted": 1}), {}, link, "nowhere", die=Deaths(), pace=pace())
    run = asyncio.create_task(worker.run())
    row = link.submit()
    await link.ended(row)
    await worker.stop()
    await run

    assert row.verdicts[0].ending == Ending.FAILED
    assert told(row.verdicts[0])[0] == "unknown_agent"


@pytest.mark.parametrize("limit", [None, 100])
async def test_an_output_over_the_limit_fails_and_names_the_way_out(limit: int | None) -> None:
    class Wordy(Agent[Given, str]):
        name = "scripted"

        async def run(self, ctx: Context, given: Given) -> str:
            return "x" * given.n

    link = MemoryLink()
    hello = Hello("w1", "cpu1", {"scripted": 2})
    set_: dict[str, Any] = {} if limit is None else {"result_bytes": limit}
    worker = Worker(hello, {"scripted": Wordy()}, link, "nowhere", die=Deaths(), pace=pace(), **set_)
    run = asyncio.create_task(worker.run())
    fits = link.submit(f'{{"n": {(limit or RESULT_BYTES) - 2}}}')
    over = link.submit(f'{{"n": {(limit or RESULT_BYTES) - 1}}}')
    await link.ended(fits, over)
    await worker.stop()
    await run

    assert fits.verdicts[0].ending == Ending.COMPLETED
    assert over.verdicts[0].ending == Ending.FAILED
    assert "ctx.artifact" in (over.verdicts[0].error or "")


@pytest.mark.parametrize("letter", ["x", "\N{GREEK SMALL LETTER LAMDA}"])
async def test_a_step_over_the_limit_fails_and_names_the_way_out(letter: str) -> None:
    async def much() -> str:
        return letter * (RESULT_BYTES // len(letter.encode()))

    async def script(ctx: Context, given: Given) -> int:
        return len(await ctx.step("much", much))

    verdict = await verdict_on(script, max_attempts=3)

    assert verdict.ending == Ending.FAILED
    assert told(verdict) == ("step_error", "StepError", "much#0")
    assert "ctx.artifact" in (verdict.error or "")


async def test_an_event_over_the_limit_fails_the_run() -> None:
    async def script(ctx: Context, given: Given) -> int:
        await ctx.emit(TextDelta(text="x" * RESULT_BYTES))
        return 1

    assert (await verdict_on(script, max_attempts=3)).ending == Ending.FAILED


async def test_emits_of_an_earlier_attempt_are_not_repeated() -> None:
    async def script(ctx: Context, given: Given) -> int:
        await ctx.emit(Progress(message="one"))
        await ctx.emit(Progress(message="two"))
        if ctx.attempt == 1:
            raise ValueError("again")
        await ctx.emit(Progress(message="three"))
        return 1

    link = MemoryLink()
    async with working(link, script):
        row = link.submit()
        await link.ended(row)

    assert [json.loads(said)["message"] for said in row.said] == ["one", "two", "three"]


async def test_a_flood_of_events_waits_for_the_ledger() -> None:
    emitted = 0
    gate = asyncio.Event()

    async def script(ctx: Context, given: Given) -> int:
        nonlocal emitted
        for number in range(10_000):
            await ctx.emit(TextDelta(text=str(number)))
            emitted += 1
        return 1

    link = MemoryLink()
    gate.set()
    async with working(link, script):
        row = link.submit()
        await link.until(lambda: row.task.worker == "w1")
        gate.clear()
        link.lag = gate.wait
        await settle(200)
        assert emitted - len(row.entries) <= ROOM + CALL + 1  # what waits, and what is on its way
        gate.set()
        await link.ended(row)

    assert [json.loads(said)["text"] for said in row.said] == [str(number) for number in range(10_000)]
    assert max(len(report.entries) for report in link.reports) <= CALL


async def test_a_run_that_emits_for_ever_can_still_be_cancelled() -> None:
    async def script(ctx: Context, given: Given) -> int:
        while True:
            await ctx.emit(TextDelta(text="and"))

    link = MemoryLink()
    async with working(link, script):
        row = link.submit()
        await link.until(lambda: len(row.entries) > CALL)
        link.cancel(row)
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.CANCELED)]


async def test_what_a_run_leaves_behind_starts_and_records_nothing_more() -> None:
    left: list[asyncio.Task[Any]] = []
    started: list[int] = []
    go = asyncio.Event()

    async def quick() -> int:
        started.append(1)
        return 1

    async def emits(ctx: Context) -> None:
        await go.wait()
        while True:  # which would never let go of the loop if it were not made to wait
            await ctx.emit(Progress(message="late"))

    async def steps(ctx: Context) -> None:
        await go.wait()
        await ctx.step("late", quick)

    async def script(ctx: Context, given: Given) -> int:
        left.extend([asyncio.create_task(emits(ctx)), asyncio.create_task(steps(ctx))])
        return 1

    link = MemoryLink()
    async with working(link, script):
        row = link.submit()
        await link.ended(row)
        go.set()
        await settle()
        assert not any(task.done() for task in left)
        for task in left:
            task.cancel()

    assert started == []
    assert row.entries == []
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_a_broken_place_for_artifacts_fails_the_task_and_not_the_worker() -> None:
    link = MemoryLink()
    async with working(link, one, artifacts="nonsense://nowhere"):
        row = link.submit(max_attempts=1)
        await link.ended(row)

    assert row.verdicts[0].ending == Ending.FAILED
