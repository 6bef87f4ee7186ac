"""A recorded step never runs again, and is recorded before its value is given."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from agents import Mode
from agents.failures import failed_step
from agents.journal import Journal

from .making import Counting, Notes, context


async def test_a_recorded_step_never_runs_again() -> None:
    journal, work = Journal(), Counting()

    values = [await context(journal).step("work", work, "a") for _ in range(3)]

    assert values == [["a"], ["a"], ["a"]]
    assert work.ran == [("a",)]


async def test_a_step_that_raised_is_not_recorded_and_runs_again() -> None:
    journal, ran = Journal(), []

    async def flaky() -> str:
        ran.append(1)
        if len(ran) == 1:
            raise OSError("busy")
        return "done"

    with pytest.raises(OSError, match="busy"):
        await context(journal).step("work", flaky)

    assert await context(journal).step("work", flaky) == "done"


async def test_a_step_whose_record_fails_is_not_kept_by_the_run() -> None:
    journal, notes = Journal(), Notes()
    notes.error = ConnectionError("the ledger is gone")

    with pytest.raises(ConnectionError):
        await context(journal, notes).step("work", len, "abc")

    assert len(journal) == 0


async def test_a_step_is_recorded_before_its_value_is_given() -> None:
    notes = Notes()

    await context(notes=notes).step("work", len, "abc")

    assert [(str(step.id), step.value) for step in notes.steps] == [("work#0", "3")]


async def test_no_step_starts_before_the_host_lets_it() -> None:
    notes, work = Notes(), Counting()
    notes.gate.clear()
    running = asyncio.ensure_future(context(notes=notes).step("work", work))
    await asyncio.sleep(0.01)
    before = list(work.ran)

    notes.gate.set()
    await running

    assert (before, work.ran) == ([], [()])


async def test_a_recorded_step_returns_even_where_no_step_may_start() -> None:
    journal, notes = Journal(), Notes()
    await context(journal).step("work", len, "abc")
    notes.gate.clear()

    assert await asyncio.wait_for(context(journal, notes).step("work", len, "abc"), 1) == 3


async def test_records_that_other_paths_left_over_are_allowed() -> None:
    journal, notes = Journal(), Notes()
    live = context(journal, mode=Mode.REALTIME)
    await live.step("quick guess", lambda: "guess")
    await live.step("search", lambda: "found")

    assert await context(journal, notes).step("search", lambda: "found") == "found"
    assert notes.steps == []


asked_by: ContextVar[str] = ContextVar("asked_by")


async def test_context_variables_of_the_run_reach_its_threads() -> None:
    asked_by.set("ann")

    assert await context().step("who", lambda: asked_by.get()) == "ann"


async def test_an_error_tells_the_step_it_came_from() -> None:
    async def broken() -> None:
        raise KeyError("x")

    for fn, args in ((broken, ()), (divmod, (1, 0))):
        with pytest.raises((KeyError, ZeroDivisionError)) as caught:
            await context().step("work", fn, *args, key="k")
        assert failed_step(caught.value) == "work:k"
    assert failed_step(ValueError("elsewhere")) is None
