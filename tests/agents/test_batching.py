"""That calls of one item are gathered into batches, and that none of them notices the others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Permanent, batched
from agents.batching import Batching
from agents.failures import failed_step
from agents.journal import Journal

from .batches import WHEN_FULL, Work, result_of, started, turns
from .making import context


@pytest.mark.parametrize(
    ("waiting", "working", "waited", "pause"),
    [
        (0, 0, 0, None),
        (1, 0, 0, 2.0),
        (3, 0, 0.5, 1.5),
        (3, 0, 2, 0.0),
        (3, 0, 9, 0.0),
        (4, 0, 0, 0.0),
        (9, 1, 0, 0.0),
        (9, 2, 9, None),
        (0, 1, 9, None),
    ],
)
def test_a_batch_begins_when_it_is_full_or_its_first_call_has_waited(
    waiting: int, working: int, waited: float, pause: float | None
) -> None:
    batching = Batching(max_size=4, max_wait=2.0, parallel=2)

    assert batching.pause(waiting=waiting, working=working, since=100.0, now=100.0 + waited) == pause


@pytest.mark.parametrize(
    "wrong", [{"max_size": 0}, {"max_wait": -0.1}, {"max_wait": float("nan")}, {"max_wait": 61}, {"parallel": 0}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="batched:"):
        batched(**wrong)


async def test_calls_at_the_same_time_are_one_call() -> None:
    work = Work()
    one = batched(max_size=3, max_wait=WHEN_FULL)(work.__call__)

    assert await asyncio.gather(*map(one, "abc")) == [("result", "a"), ("result", "b"), ("result", "c")]
    assert work.batches == [["a", "b", "c"]]


async def test_a_call_that_stays_alone_is_a_batch_too() -> None:
    work = Work()

    assert await batched(max_wait=0.001)(work.__call__)("a") == ("result", "a")


async def test_where_nothing_is_waited_for_the_calls_of_one_turn_are_still_one_batch() -> None:
    work = Work()
    one = batched(max_wait=0)(work.__call__)

    await asyncio.gather(*map(one, "abc"))

    assert work.batches == [["a", "b", "c"]]


async def test_a_size_of_one_calls_for_each_at_once() -> None:
    work = Work()
    one = batched(max_size=1, max_wait=WHEN_FULL)(work.__call__)

    await asyncio.gather(*map(one, "ab"))

    assert work.batches == [["a"], ["b"]]


async def test_what_comes_while_a_batch_works_makes_up_the_next_in_order() -> None:
    work = Work(held=True)
    one = batched(max_size=2, max_wait=WHEN_FULL)(work.__call__)

    callers = started(*map(one, "abcdef"))
    await turns()
    assert work.batches == [["a", "b"]]
    work.gate.set()
    await asyncio.gather(*callers)

    assert work.batches == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert work.most == 1


async def test_as_many_batches_work_at_once_as_is_declared() -> None:
    work = Work(held=True)
    one = batched(max_size=1, parallel=2)(work.__call__)

    callers = started(*map(one, "abc"))
    await turns()
    assert work.batches == [["a"], ["b"]]
    work.gate.set()
    await asyncio.gather(*callers)

    assert work.most == 2


async def test_an_error_fails_all_of_its_batch_and_none_of_the_next() -> None:
    @batched(max_size=2, max_wait=WHEN_FULL)
    async def check(items: list[str]) -> list[str]:
        if "bad" in items:
            raise KeyError("bad")
        return items

    results = await asyncio.gather(*map(check, ["a", "bad", "b", "c"]), return_exceptions=True)

    assert [type(result) for result in results] == [KeyError, KeyError, str, str]


async def test_an_error_among_the_results_fails_its_own_item() -> None:
    one = batched(max_size=3, max_wait=WHEN_FULL)(Work().__call__)

    found = await asyncio.gather(one(1), one(-2), one(3), return_exceptions=True)

    assert [found[0], found[2]] == [("result", 1), ("result", 3)]
    assert isinstance(found[1], ValueError)
    assert str(found[1]) == "not -2"


class Particular(Exception):
    """Passes on other arguments than it takes."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code}")
        self.where = where


@pytest.mark.parametrize(
    "error",
    [KeyError("k"), Particular(5, where="there"), OSError(2, "none"), UnicodeDecodeError("utf-8", b"a", 0, 1, "no")],
)
async def test_each_caller_has_the_error_to_itself_with_its_own_step(error: Exception) -> None:
    @batched(max_size=2, max_wait=WHEN_FULL)
    async def broken(items: list[str]) -> list[str]:
        raise error

    steps = [context().step(name, broken, name) for name in ("one", "other")]
    first, second = await asyncio.gather(*steps, return_exceptions=True)

    assert isinstance(first, type(error))
    assert isinstance(second, type(error))
    assert (failed_step(first), failed_step(second)) == ("one#0", "other#0")
    assert str(first) == str(second) == str(error)
    assert getattr(first, "where", None) == getattr(error, "where", None)


async def test_an_error_that_no_future_carries_is_an_ordinary_one() -> None:
    @batched(max_wait=0)
    async def strange(items: list[str]) -> list[str | Exception]:
        return [StopIteration("over")]

    with pytest.raises(RuntimeError, match="StopIteration: over"):
        await strange("a")


@pytest.mark.parametrize("result", [[], ["a", "b", "c"], None, "ab", {"a": 1, "b": 2}, {"a", "b"}])
async def test_another_number_of_results_is_told(result: Any) -> None:
    @batched(max_size=2, max_wait=WHEN_FULL)
    async def miscounted(items: list[str]) -> list[str]:
        return result  # type: ignore[no-any-return]

    for told in await asyncio.gather(miscounted("a"), miscounted("b"), return_exceptions=True):
        assert isinstance(told, Permanent)
        assert "miscounted" in str(told)


async def test_an_item_whose_caller_left_is_not_worked_on_and_the_others_are() -> None:
    work = Work(held=True)
    one = batched(max_size=2, max_wait=WHEN_FULL)(work.__call__)
    busy = started(one("x"), one("y"))
    await work.begun.wait()

    a, b, c = started(*map(one, "abc"))
    await turns()
    b.cancel()
    await turns()
    work.gate.set()

    assert await asyncio.gather(a, c, *busy) == [("result", item) for item in "acxy"]
    assert work.batches == [["x", "y"], ["a", "c"]]
    assert b.cancelled()


async def test_a_caller_who_leaves_a_batch_at_work_leaves_it_to_the_others() -> None:
    work = Work(held=True)
    one = batched(max_size=2, max_wait=WHEN_FULL)(work.__call__)
    a, b = started(*map(one, "ab"))
    await work.begun.wait()

    a.cancel()
    await turns()
    work.gate.set()

    assert await b == ("result", "b")
    assert work.ended == ["well"]


async def test_a_batch_that_all_have_left_is_cancelled_and_the_next_begins() -> None:
    work = Work(held=True)
    one = batched(max_size=2, max_wait=WHEN_FULL)(work.__call__)
    callers = started(*map(one, "abcd"))
    await work.begun.wait()

    for caller in callers[:2]:
        caller.cancel()
    await turns()
    work.gate.set()

    assert await asyncio.gather(*callers[2:]) == [("result", "c"), ("result", "d")]
    assert work.ended == ["cancelled", "well"]


async def test_a_step_that_is_not_cancellable_has_its_item_worked_on_and_recorded() -> None:
    work, journal = Work(held=True), Journal()
    one = batched(max_wait=0)(work.__call__)
    [step] = started(context(journal).step("s", one, 1, cancellable=False))
    await work.begun.wait()

    step.cancel()
    await turns()
    work.gate.set()

    with pytest.raises(asyncio.CancelledError):
        await step
    assert [str(record.id) for record in journal] == ["s#0"]


async def test_a_plain_function_runs_in_a_thread() -> None:
    @batched(max_size=2, max_wait=WHEN_FULL)
    def where(items: list[str]) -> list[bool]:
        return [threading.current_thread() is threading.main_thread()] * len(items)

    assert await asyncio.gather(*map(where, "ab")) == [False, False]


async def test_a_caller_who_is_cancelled_lasts_as_long_as_its_batch_in_a_thread() -> None:
    """Else a function that hangs would hold up those who come later, and nothing would show it."""
    begun, gate, batches = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    @batched(max_size=1)
    def slow(items: list[str]) -> list[str]:
        batches.append(items)
        loop.call_soon_threadsafe(begun.set)
        gate.wait(20)
        return items

    a, b, c = started(slow("a"), slow("b"), slow("c"))
    await begun.wait()
    a.cancel()
    b.cancel()
    await turns()
    assert (a.done(), b.done(), batches) == (False, True, [["a"]])
    gate.set()

    assert await c == "c"
    assert (a.cancelled(), batches) == (True, [["a"], ["c"]])


async def test_a_second_cancel_does_not_wait_for_a_thread() -> None:
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @batched(max_size=1)
    def slow(items: list[str]) -> list[str]:
        loop.call_soon_threadsafe(begun.set)
        gate.wait(20)
        return items

    [a] = started(slow("a"))
    await begun.wait()
    for _ in range(2):
        a.cancel()
        await turns()

    assert a.cancelled()
    gate.set()


ITEMS = st.lists(st.integers(-9, 99), max_size=40)


@pytest.mark.slow
@settings(deadline=None)
@given(
    items=ITEMS,
    size=st.integers(1, 7),
    parallel=st.integers(1, 3),
    leaving=st.sets(st.integers(0, 39)),
    held=st.booleans(),
)
def test_whoever_stays_has_the_result_of_its_item(
    items: list[int], size: int, parallel: int, leaving: set[int], held: bool
) -> None:
    async def run() -> None:
        work = Work(held=held)
        one = batched(max_size=size, max_wait=0, parallel=parallel)(work.__call__)
        callers = started(*map(one, items))
        await turns(3)
        for place in leaving & set(range(len(items))):
            callers[place].cancel()
        work.gate.set()
        found = await asyncio.gather(*callers, return_exceptions=True)

        for place, (item, result) in enumerate(zip(items, found, strict=True)):
            if not (place in leaving and isinstance(result, asyncio.CancelledError)):
                expected = result_of(item)
                assert result == expected or (type(result), str(result)) == (type(expected), str(expected))
        worked_on = [item for batch in work.batches for item in batch]
        remaining = iter(items)
        assert all(item in remaining for item in worked_on)  # in the order they came, each at most once
        assert all(1 <= len(batch) <= size for batch in work.batches)
        assert work.most <= parallel
        assert work.at_work == 0

    asyncio.run(run())
