"""What tells one step from another: its name, with its number or its key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents import Context, Mode, RubatoError
from agents.errors import StepError, StepMismatch
from agents.journal import Journal

from .making import Counting, Notes, context


async def test_steps_of_one_name_are_numbered_in_the_order_they_are_reached() -> None:
    journal, work = Journal(), Counting()

    async def run(ctx: Context) -> list[Any]:
        return [await ctx.step("work", work, n) for n in range(3)] + [await ctx.step("other", work, "x")]

    first, again = await run(context(journal)), await run(context(journal))

    assert first == again == [[0], [1], [2], ["x"]]
    assert [str(record.id) for record in journal] == ["work#0", "work#1", "work#2", "other#0"]
    assert len(work.ran) == 4


async def test_a_key_takes_the_place_of_the_number() -> None:
    journal, work = Journal(), Counting()
    ctx = context(journal)
    await ctx.step("work", work, 1, key="b")
    await ctx.step("work", work, 2)
    await ctx.step("work", work, 3, key="0")

    again = context(journal)
    values = [
        await again.step("work", work, 3, key="0"),
        await again.step("work", work, 1, key="b"),
        await again.step("work", work, 2),
    ]

    assert values == [[3], [1], [2]]
    assert [str(record.id) for record in journal] == ["work:b", "work#0", "work:0"]
    assert len(work.ran) == 3


async def test_names_and_keys_that_read_alike_are_different_steps() -> None:
    journal = Journal()
    ctx = context(journal)

    values = [
        await ctx.step("a:b", lambda: 1, key="c"),
        await ctx.step("a", lambda: 2, key="b:c"),
        await ctx.step("a", lambda: 3),
        await ctx.step("a", lambda: 4, key="#0"),
    ]

    assert values == [1, 2, 3, 4]
    assert len(journal) == 4


async def test_the_same_key_again_is_the_same_step() -> None:
    ctx, work = context(), Counting()

    values = [await ctx.step("work", work, "a", key="k") for _ in range(2)]

    assert values == [["a"], ["a"]]
    assert work.ran == [("a",)]


async def test_the_same_key_for_other_arguments_is_a_mismatch() -> None:
    ctx = context()
    await ctx.step("work", len, "a", key="k")

    with pytest.raises(StepMismatch, match=r"work:k.*share a key"):
        await ctx.step("work", len, "b", key="k")


async def test_steps_of_one_name_in_parallel_need_a_key_each() -> None:
    ctx, release = context(), asyncio.Event()

    async def wait() -> str:
        await release.wait()
        return "done"

    first = asyncio.ensure_future(ctx.step("page", wait))
    await asyncio.sleep(0)

    with pytest.raises(StepError, match=r"page#1.*parallel.*key="):
        await ctx.step("page", wait)

    release.set()
    assert await first == "done"


async def test_steps_of_one_name_run_in_parallel_with_keys_and_replay_in_any_order() -> None:
    journal, notes, running = Journal(), Notes(), asyncio.Barrier(3)

    async def read(page: int) -> int:
        await running.wait()
        return page * 10

    ctx = context(journal, notes)
    values = await asyncio.gather(*(ctx.step("page", read, n, key=f"{n}") for n in range(3)))
    again = context(journal)
    replayed = [await again.step("page", read, n, key=f"{n}") for n in (2, 0, 1)]

    assert values == [0, 10, 20]
    assert replayed == [20, 0, 10]
    assert len(notes.steps) == 3


async def test_one_key_in_parallel_is_refused() -> None:
    ctx = context()

    with pytest.raises(StepError, match=r"page:1.*parallel"):
        await asyncio.gather(*(ctx.step("page", asyncio.sleep, 0.01, key="1") for _ in range(2)))


async def test_steps_of_other_names_run_in_parallel_without_keys() -> None:
    ctx, running = context(), asyncio.Barrier(2)

    values = await asyncio.gather(ctx.step("a", running.wait), ctx.step("b", running.wait))

    assert sorted(values) == [0, 1]


async def test_a_name_is_free_again_once_its_step_failed() -> None:
    ctx = context()
    with pytest.raises(ZeroDivisionError):
        await ctx.step("work", divmod, 1, 0)

    assert await ctx.step("work", divmod, 1, 1) == [1, 0]


async def test_a_step_inside_of_a_step_needs_a_key() -> None:
    """A replay skips the inner ones, so numbers given to them would be given to others."""
    journal, ran = Journal(), []

    async def inner(n: int) -> int:
        ran.append(n)
        return n

    async def run(ctx: Context) -> list[int]:
        async def outer() -> int:
            return await ctx.step("inner", inner, 1, key="first")

        return [await ctx.step("outer", outer), await ctx.step("inner", inner, 2)]

    assert await run(context(journal)) == await run(context(journal)) == [1, 2]
    assert ran == [1, 2]

    ctx = context()
    with pytest.raises(StepError, match=r"inner.*inside of step 'outer#0'.*key="):
        await ctx.step("outer", lambda: ctx.step("inner", inner, 1))


@pytest.mark.parametrize("text", ["", "x" * 256, "ä" * 128, "NUL \0", "line\nbreak", "\x1b[31m", "\ud800", 7, b"bytes"])
async def test_a_name_or_key_that_cannot_be_stored_is_refused(text: Any) -> None:
    work = Counting()

    with pytest.raises(StepError, match="its name"):
        await context().step(text, work)
    with pytest.raises(StepError, match="step 'work': its key"):
        await context().step("work", work, key=text)

    assert work.ran == []


@pytest.mark.parametrize("text", ["x" * 255, "ä" * 127, "a b", "#", ":", "第\u3000一", "0", "'; drop table"])
async def test_any_other_name_or_key_will_do(text: str) -> None:
    journal = Journal()

    for _ in range(2):
        assert await context(journal).step(text, lambda: 1, key=text) == 1

    assert len(journal) == 1


async def keys(ctx: Context) -> list[str]:
    """The step keys of four steps: an async and a sync one, and two with author's keys."""

    async def asked() -> str:
        return ctx.step_key

    return [
        await ctx.step("pay", asked),
        await ctx.step("pay", lambda: ctx.step_key),
        await ctx.step("pay", asked, key="a"),
        await ctx.step("post", asked, key="a"),
    ]


async def test_a_step_key_is_the_same_in_every_attempt_and_mode() -> None:
    first = await keys(context(mode=Mode.REALTIME, attempt=1))

    assert await keys(context(mode=Mode.BACKGROUND, attempt=7)) == first
    assert len(set(first)) == 4


async def test_a_step_key_is_of_one_task_and_one_tenant() -> None:
    all_keys = [
        *await keys(context(task_id="one")),
        *await keys(context(task_id="two")),
        *await keys(context(task_id="one", tenant="acme")),
    ]

    assert len(set(all_keys)) == 12


async def test_steps_in_parallel_each_know_their_own_key() -> None:
    ctx, running = context(), asyncio.Barrier(2)

    async def asked() -> tuple[str, str]:
        before = ctx.step_key
        await running.wait()
        return before, ctx.step_key

    one, two = await asyncio.gather(*(ctx.step("pay", asked, key=key) for key in "ab"))

    assert one[0] == one[1] != two[0] == two[1]


async def test_there_is_no_step_key_outside_of_a_step() -> None:
    ctx = context()
    await ctx.step("work", lambda: None)

    with pytest.raises(RubatoError, match="outside of a step"):
        _ = ctx.step_key
