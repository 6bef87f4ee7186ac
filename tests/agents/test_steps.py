"""Steps: what tells one from another, and that a recorded one never runs again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextvars import ContextVar
from typing import Any

import pytest
from pydantic import BaseModel

from agents import Context, Mode, RubatoError
from agents.errors import StepError, StepMismatch
from agents.failures import failed_step
from agents.journal import Journal

from .making import Notes, context


class Counting:
    """A function that knows how often it ran."""

    def __init__(self) -> None:
        self.ran: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> list[Any]:
        self.ran.append(args)
        return list(args)


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


@pytest.mark.parametrize("others", [("b",), ("a", "a"), (), (["a"],), ({"a": 1},), (None,)])
async def test_other_arguments_are_a_mismatch_that_names_the_step(others: tuple[Any, ...]) -> None:
    journal, work = Journal(), Counting()
    await context(journal).step("first", work)
    await context(journal).step("draft", work, "a")
    ran = len(work.ran)

    with pytest.raises(StepMismatch, match="draft#0") as caught:
        await context(journal).step("draft", work, *others)

    assert caught.value.step == "draft#0"
    assert failed_step(caught.value) == "draft#0"
    assert len(work.ran) == ran


class Options(BaseModel):
    tags: set[str]
    limits: dict[str, int]


async def test_arguments_are_compared_as_json_whatever_the_order_of_keys() -> None:
    journal, work = Journal(), Counting()
    await context(journal).step(
        "work", work, {"a": 1, "b": {"c": 2, "d": 3}}, Options(tags={"x"}, limits={"p": 1, "q": 2})
    )

    await context(journal).step(
        "work", work, {"b": {"d": 3, "c": 2}, "a": 1}, Options(tags={"x"}, limits={"q": 2, "p": 1})
    )

    assert len(work.ran) == 1


DIGEST = """
from collections import deque
from dataclasses import dataclass
from pydantic import BaseModel, ConfigDict, Field, RootModel
from agents.values import digest

class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    words: frozenset[str] = Field(alias="inside")

class Root(RootModel[set[str]]): pass

@dataclass
class Data:
    words: set[str]

words = {f"word {n}" for n in range(20)}
models = {Frozen(inside=frozenset(sorted(words)[:n])) for n in range(9)}
nested = {frozenset(words), frozenset("abc")}
print(digest((words, [{"k": words}], Data(words), Root(words), models, deque([words]), nested)))
"""


def test_arguments_with_sets_are_the_same_in_every_process() -> None:
    """Python orders a set of strings anew in each process, and a replay is another process."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(digests) == 1


async def test_a_set_is_told_from_another() -> None:
    journal = Journal()
    await context(journal).step("work", len, {"a", "b"})

    with pytest.raises(StepMismatch):
        await context(journal).step("work", len, {"a", "c"})


class Plain:
    """A class that pydantic knows nothing of."""


@pytest.mark.parametrize(
    ("argument", "kind", "why"),
    [
        (Plain(), "Plain", "Unable to serialize"),
        ([{"deep": Plain()}], "list", "Unable to serialize"),
        (len, "builtin_function_or_method", "Unable to serialize"),
        (b"\xff", "bytes", "utf-8"),
        (iter([1]), "list_iterator", "only once"),
        ({"all": (n for n in [1])}, "dict", "only once"),
    ],
)
async def test_an_argument_that_has_no_json_form_is_named_by_place_and_type(argument: Any, kind: str, why: str) -> None:
    work = Counting()

    with pytest.raises(StepError) as caught:
        await context().step("work", work, "fine", argument)

    assert str(caught.value).startswith(f"step 'work#0': argument 2 ({kind}) is neither JSON nor pydantic: ")
    assert why in str(caught.value)
    assert work.ran == []


async def test_an_argument_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(StepError, match=r"argument 1 \(list\).*Circular"):
        await context().step("work", len, circle)


async def test_an_argument_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(StepError, match=r"argument 1 \(list\)"):
        await context().step("work", len, deep)


async def test_an_integer_of_more_digits_than_python_writes_is_refused() -> None:
    with pytest.raises(StepError, match=r"argument 1 \(int\).*digits"):
        await context().step("work", type, 10**5000)


@pytest.mark.parametrize("argument", [10**4000, "\ud800", "NUL \0", float("nan"), float("inf"), -0.0, None, ""])
async def test_odd_arguments_are_arguments(argument: Any) -> None:
    """They are compared and never stored, so they need not be JSON that others can read."""
    journal, ran = Journal(), []

    for _ in range(2):
        await context(journal).step("work", lambda value: ran.append(value), argument)

    assert len(ran) == 1


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


async def test_records_that_other_paths_left_over_are_allowed() -> None:
    journal, notes = Journal(), Notes()
    live = context(journal, mode=Mode.REALTIME)
    await live.step("quick guess", lambda: "guess")
    await live.step("search", lambda: "found")

    assert await context(journal, notes).step("search", lambda: "found") == "found"
    assert notes.steps == []


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
