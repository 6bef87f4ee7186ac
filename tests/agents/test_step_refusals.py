"""A value that cannot be recorded is refused with the reason, and nothing of it is kept."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.errors import StepError
from agents.journal import Journal

from .given import INDEX, Hit, Span
from .making import Notes, context, live_then_replayed


class Unknown:
    """A class that pydantic knows nothing of."""


async def refusal(fn: Any, *args: Any, returns: Any = None) -> str:
    """How the step was refused; nothing of it is recorded."""
    journal, notes = Journal(), Notes()
    with pytest.raises(StepError) as caught:
        await context(journal, notes).step("look up", fn, *args, returns=returns)
    assert caught.value.step == "look up#0"
    assert len(journal) == len(notes.steps) == 0
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Unknown(), "Unknown"),
        (b"\xff", "utf-8"),
        ("\ud800", "surrogates"),
        ([math.nan], "NaN"),
        ({"a": math.inf}, "Infinity"),
        (-math.inf, "Infinity"),
    ],
)
async def test_a_value_without_json_form_is_refused_with_the_reason(value: object, why: str) -> None:
    told = await refusal(lambda: value)

    assert f"its value ({type(value).__name__}) has no JSON form" in told
    assert why in told


@pytest.mark.parametrize("kind", [float, list[float], dict[str, Any], tuple[float, ...]])
async def test_a_number_that_json_does_not_have_is_refused_whatever_the_type(kind: Any) -> None:
    value = {float: math.nan, list[float]: [math.nan], dict[str, Any]: {"a": math.nan}}.get(kind, (math.nan,))

    assert "JSON has no NaN" in await refusal(lambda: value, returns=kind)


async def test_words_that_look_like_such_numbers_are_words() -> None:
    assert await live_then_replayed(lambda: ["NaN", "Infinity"]) == (["NaN", "Infinity"], ["NaN", "Infinity"])


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (int, "many", "type int: value:"),
        (Hit, {"score": 1}, "type Hit: text:"),
        (list[Hit], [{"text": "a"}, {"text": 1}], "Hit]: 1.text:"),
        (Hit, None, "type Hit: value:"),
        (Span, Hit(text="a"), "type Span: start:"),
        (float | None, "x", "value:"),
    ],
)
async def test_a_value_that_does_not_fit_its_type_is_refused_with_the_place(kind: Any, value: Any, where: str) -> None:
    told = await refusal(lambda: value, returns=kind)

    assert "does not fit its type" in told
    assert where in told


async def test_a_number_of_more_digits_than_python_reads_is_refused() -> None:
    assert "number out of range" in await refusal(lambda: 10**5000, returns=int)


async def test_a_type_that_cannot_be_recorded_is_refused_before_the_function_runs() -> None:
    ran = []

    def work() -> Unknown:
        ran.append(1)
        return Unknown()

    assert "its type Unknown cannot be recorded" in await refusal(work)
    assert "cannot be recorded" in await refusal(lambda: ran.append(1), returns=list[Unknown])
    assert ran == []


async def test_a_coroutine_in_place_of_a_function_is_refused() -> None:
    fetching = INDEX.fetch("a")

    assert "needs a function and its arguments, and was given coroutine" in await refusal(fetching)
    assert inspect.getcoroutinestate(fetching) == inspect.CORO_CLOSED


async def test_an_async_generator_is_refused() -> None:
    async def stream() -> AsyncIterator[str]:
        yield "a"

    assert "async_generator" in await refusal(stream, returns=Any)


async def test_a_recorded_value_that_no_longer_fits_is_refused_and_named() -> None:
    journal = Journal()
    await context(journal).step("read", lambda: {"score": 1})

    with pytest.raises(StepError, match=r"step 'read#0'.* type Hit: text: Field required"):
        await context(journal).step("read", lambda: {"score": 1}, returns=Hit)
