"""What a batched function is to its callers: a method, a step, a function of one item with a type."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from agents import Progress, RubatoError, batched
from agents.returns import return_type

from .batches import WHEN_FULL, Work, started, turns
from .given import Hit
from .making import context, live_then_replayed


class Model:
    """Has a method and no hash, as a dataclass that can be compared has none."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name
        self.batches: list[list[str]] = []

    @batched(max_size=2, max_wait=WHEN_FULL)
    async def embed(self, texts: list[str]) -> list[Hit]:
        self.batches.append(texts)
        return [Hit(text=f"{self.name}{text}") for text in texts]

    @staticmethod
    @batched(max_wait=0)
    async def fixed(texts: list[str]) -> list[Hit | ValueError]:
        return [Hit(text=text) for text in texts]

    @classmethod
    @batched(max_wait=0)
    def made(cls, texts: list[str]) -> tuple[Hit, ...]:
        return tuple(Hit(text=f"{cls.__name__}{text}") for text in texts)


async def test_a_method_gathers_for_each_object() -> None:
    one, other = Model("1"), Model("2")

    found = await asyncio.gather(one.embed("a"), other.embed("b"), one.embed("c"), other.embed("d"))

    assert [hit.text for hit in found] == ["1a", "2b", "1c", "2d"]
    assert (one.batches, other.batches) == ([["a", "c"]], [["b", "d"]])
    assert (await Model.fixed("a"), await Model.made("a")) == (Hit(text="a"), Hit(text="Modela"))


async def test_an_object_is_let_go_when_nothing_of_it_works_or_waits() -> None:
    model = Model("1")
    callers = started(model.embed("left"), model.embed("a"), model.embed("b"))
    callers[0].cancel()
    callers[2].cancel()
    await turns()
    callers[1].cancel()
    await asyncio.wait(callers)
    await asyncio.gather(model.embed("a"), model.embed("b"))

    gone = weakref.ref(model)
    del model, callers
    await turns()
    gc.collect()

    assert gone() is None


def test_each_loop_gathers_its_own() -> None:
    work = Work()
    one = batched(max_size=2, max_wait=WHEN_FULL)(work.__call__)
    together, found = threading.Barrier(2), []

    def loop(first: str, second: str) -> None:
        async def both() -> list[Any]:
            together.wait(20)
            return await asyncio.gather(*map(one, (first, second)))

        found.extend(asyncio.run(both()))

    threads = [threading.Thread(target=loop, args=pair) for pair in ("ab", "cd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(item for _, item in found) == ["a", "b", "c", "d"]
    assert sorted(work.batches) == [["a", "b"], ["c", "d"]]


def test_a_loop_that_ends_in_the_middle_leaves_nothing_to_the_next() -> None:
    work = Work(held=True)
    one = batched(max_size=1)(work.__call__)

    async def leave() -> None:
        started(*map(one, "ab"))
        await turns()

    asyncio.run(leave())
    work.gate = asyncio.Event()
    work.gate.set()

    assert asyncio.run(_of(one, "c")) == ("result", "c")
    assert work.batches == [["a"], ["c"]]


async def _of(one: Callable[[str], Coroutine[Any, Any, Any]], item: str) -> Any:
    return await one(item)


@pytest.mark.parametrize("ask", ["step_key", "step", "emit", "sleep"])
async def test_a_batch_can_ask_nothing_of_a_runs_context(ask: str) -> None:
    ctx = context()

    @batched(max_wait=0)
    async def nosy(items: list[str]) -> list[str]:
        match ask:
            case "step_key":
                return [ctx.step_key]
            case "step":
                await ctx.step("inner", str.upper, "a", key="k")
            case "emit":
                await ctx.emit(Progress(message="here"))
            case "sleep":
                await ctx.sleep(1)
        return items

    with pytest.raises(RubatoError, match="nosy works for several runs at once"):
        await ctx.step("s", nosy, "a")


async def test_a_batch_sees_nothing_that_only_one_of_its_callers_says() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")

    @batched(max_size=2, max_wait=WHEN_FULL)
    def ask(items: list[str]) -> list[str]:
        return [who.get()] * len(items)

    who.set("somebody")

    assert await asyncio.gather(*map(ask, "ab")) == ["nobody", "nobody"]


async def test_a_batch_that_calls_itself_is_refused() -> None:
    @batched(max_wait=0)
    async def again(items: list[str]) -> list[str]:
        return [await again(item) for item in items]

    with pytest.raises(RubatoError, match="calls itself"):
        await again("a")


async def test_batches_may_ask_for_batches_of_another() -> None:
    @batched(max_wait=0)
    async def inner(items: list[str]) -> list[str]:
        return [item.upper() for item in items]

    @batched(max_wait=0)
    async def outer(items: list[str]) -> list[str]:
        return await asyncio.gather(*map(inner, items))

    assert await asyncio.gather(*map(outer, "ab")) == ["A", "B"]


async def test_the_type_of_a_step_is_that_of_one_result() -> None:
    model = Model("")
    [_, hit] = await asyncio.gather(model.embed("a"), live_then_replayed(model.embed, "b"))

    assert hit == (Hit(text="b"), Hit(text="b"))
    assert await live_then_replayed(Model.fixed, "a") == (Hit(text="a"), Hit(text="a"))
    assert await live_then_replayed(Model.made, "a") == (Hit(text="Modela"), Hit(text="Modela"))


def test_results_of_several_types_or_of_none_that_is_known() -> None:
    @batched()
    async def several(items: list[str]) -> list[int | ValueError | None]:
        return []

    @batched()
    def bare(items: list[str]) -> list:
        return []

    @batched()
    def silent(items):  # type: ignore[no-untyped-def]
        return []

    assert [return_type(fn) for fn in (several, bare, silent)] == [int | None, Any, Any]


def test_what_is_no_function_of_items_is_refused() -> None:
    async def yields(items: list[str]):  # type: ignore[no-untyped-def]
        yield "a"

    def alone() -> list[str]:
        return []

    def more(items: list[str], by: str, to: str) -> list[str]:
        return []

    refused: tuple[Any, ...] = (alone, more, yields, staticmethod(yields))
    for wrong in refused:
        with pytest.raises(TypeError, match="batched:"):
            batched()(wrong)
