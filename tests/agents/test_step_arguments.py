"""A step's arguments are compared as JSON: others are a mismatch, and what has no such form is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from agents.errors import StepError, StepMismatch
from agents.failures import failed_step
from agents.journal import Journal

from .making import Counting, context


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


@pytest.mark.slow
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
