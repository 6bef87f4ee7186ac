"""Where the type of a step's value comes from, whatever kind of callable gives it."""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from pydantic import BaseModel

from .given import INDEX, Hit, Index, Span
from .making import live_then_replayed

if TYPE_CHECKING:
    from fractions import Fraction


T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class AsyncIndex:
    async def __call__(self, text: str) -> Hit:
        return Hit(text=text)


def traced(fn: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(fn)
    def outer(*args: Any) -> T:
        return fn(*args)

    return outer


@traced
def decorated(text: str) -> Hit:
    return Hit(text=text)


def eventually(text: str) -> Awaitable[Hit]:
    return Index().fetch(text)


def coroutine(text: str) -> Coroutine[Any, Any, Hit]:
    return Index().fetch(text)


def unknown_parameter(text: str, ratio: Fraction | None = None) -> Hit:
    return Hit(text=text)


@pytest.mark.parametrize(
    "fn",
    [
        INDEX,
        AsyncIndex(),
        INDEX.fetch,
        Index.made,
        Index.plain,
        functools.partial(INDEX.fetch),
        functools.partial(functools.partial(Index.plain)),
        functools.partial(INDEX.cached),
        decorated,
        eventually,
        coroutine,
        unknown_parameter,
    ],
)
async def test_every_kind_of_callable_is_typed_by_its_annotation(fn: Callable[..., Any]) -> None:
    assert await live_then_replayed(fn, "a") == (Hit(text="a"), Hit(text="a"))


async def test_a_bound_method_is_typed_by_its_annotation() -> None:
    assert await live_then_replayed(INDEX.search, "a") == ([Hit(text="a")], [Hit(text="a")])


async def test_a_class_is_its_own_type() -> None:
    assert await live_then_replayed(Span, 1, 2) == (Span(1, 2), Span(1, 2))
    assert await live_then_replayed(int, "12") == (12, 12)
    assert await live_then_replayed(Decimal, "1.0") == (Decimal("1.0"), Decimal("1.0"))


async def test_a_builtin_gives_plain_json() -> None:
    assert await live_then_replayed(str.upper, "a") == ("A", "A")
    assert await live_then_replayed(sorted, [3, 1, 2]) == ([1, 2, 3], [1, 2, 3])
    assert await live_then_replayed("a,b".split, ",") == (["a", "b"], ["a", "b"])
    assert await live_then_replayed(math.hypot, 3, 4) == (5.0, 5.0)


async def test_a_type_from_inside_of_a_function_is_found() -> None:
    class Local(BaseModel):
        n: int

    def make(n: int) -> Local:
        return Local(n=n)

    assert await live_then_replayed(make, 3) == (Local(n=3), Local(n=3))


async def test_a_type_that_only_the_checker_sees_means_plain_json() -> None:
    def ratio() -> Fraction:
        return {"n": 1}  # type: ignore[return-value]

    assert await live_then_replayed(ratio) == ({"n": 1}, {"n": 1})


async def test_an_unbound_type_variable_means_plain_json() -> None:
    def same(value: T) -> T:
        return value

    def listed(value: T) -> list[T]:
        return [value]

    def bound(value: M) -> M:
        return value

    assert await live_then_replayed(bound, Hit(text="a")) == ({"text": "a", "score": 0.5},) * 2
    assert await live_then_replayed(same, {"a": 1}) == ({"a": 1}, {"a": 1})
    assert await live_then_replayed(listed, Hit(text="a")) == ([{"text": "a", "score": 0.5}],) * 2


async def test_what_is_yielded_comes_back_as_a_list() -> None:
    def untyped():  # type: ignore[no-untyped-def]
        yield from ("a", "b")

    def iterator() -> Iterator[Hit]:
        yield Hit(text="a")

    def iterable() -> Iterable[Hit]:
        return (Hit(text=text) for text in "a")

    assert await live_then_replayed(untyped) == (["a", "b"], ["a", "b"])
    assert await live_then_replayed(iterator) == ([Hit(text="a")], [Hit(text="a")])
    assert await live_then_replayed(iterable) == ([Hit(text="a")], [Hit(text="a")])
