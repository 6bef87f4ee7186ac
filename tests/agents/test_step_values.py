"""What a step's value comes back as: its declared type, by way of JSON, the same live and replayed."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, Json, computed_field

from agents.errors import StepError
from agents.journal import Journal

from .evaluated import Reading, read_all
from .making import Notes, context, live_then_replayed

if TYPE_CHECKING:
    from fractions import Fraction

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Hit(BaseModel):
    text: str
    score: float = 0.5


@dataclass(frozen=True)
class Span:
    start: int
    end: int


class Pair(NamedTuple):
    left: int
    right: str


class Color(Enum):
    RED = "red"


class Box(BaseModel, Generic[T]):
    inside: T


class Renamed(BaseModel):
    """Named otherwise in JSON, with a computed field, and refusing whatever it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    class_name: str = Field(alias="className")
    shown: str = Field(validation_alias="in", serialization_alias="out")

    @computed_field
    def length(self) -> int:
        return len(self.shown)


class Wrapped(BaseModel):
    settings: Json[dict[str, int]]


def model() -> Hit:
    return Hit(text="a", score=1)


def models() -> dict[str, tuple[Hit, ...]]:
    return {"a": (Hit(text="a"), Hit(text="b"))}


def span() -> Span:
    return Span(1, 2)


def pair() -> Pair:
    return Pair(1, "b")


def mixed() -> tuple[int, str, date]:
    return 1, "b", date(2030, 1, 2)


def moment() -> datetime:
    return datetime(2030, 1, 2, 3, 4, 5, 600, tzinfo=UTC)


def durations() -> list[timedelta]:
    return [timedelta(days=1, microseconds=1)]


def money() -> Decimal:
    return Decimal("10.10")


def ids() -> set[UUID]:
    return {UUID(int=1), UUID(int=2)}


def place() -> Path:
    return Path("a/b")


def colour() -> Color:
    return Color.RED


def maybe() -> Hit | None:
    return None


def surely() -> Hit | None:
    return Hit(text="a")


def boxed() -> Box[Span]:
    return Box[Span](inside=Span(1, 2))


def boxed_anything() -> Box:
    return Box(inside=[1])


def choice() -> Literal["a", "b"]:
    return "a"


def limited() -> Annotated[int, Field(ge=0, examples=[1])]:
    return 7


def some() -> Sequence[Hit]:
    return (Hit(text="a"),)


def nothing() -> None:
    return


def big() -> int:
    return 10**4000


def renamed() -> Renamed:
    return Renamed.model_validate({"className": "c", "in": "i"})


def wrapped() -> Wrapped:
    return Wrapped.model_validate({"settings": '{"a": 1}'})


def tabs() -> str:
    return 'NUL \0, tab \t, "quotes", and 𝄞'


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (model, Hit(text="a", score=1)),
        (models, {"a": (Hit(text="a"), Hit(text="b"))}),
        (span, Span(1, 2)),
        (pair, Pair(1, "b")),
        (mixed, (1, "b", date(2030, 1, 2))),
        (moment, datetime(2030, 1, 2, 3, 4, 5, 600, tzinfo=UTC)),
        (durations, [timedelta(days=1, microseconds=1)]),
        (money, Decimal("10.10")),
        (ids, {UUID(int=1), UUID(int=2)}),
        (place, Path("a/b")),
        (colour, Color.RED),
        (maybe, None),
        (surely, Hit(text="a")),
        (boxed, Box[Span](inside=Span(1, 2))),
        (boxed_anything, Box(inside=[1])),
        (choice, "a"),
        (limited, 7),
        (some, [Hit(text="a")]),
        (nothing, None),
        (big, 10**4000),
        (renamed, renamed()),
        (wrapped, wrapped()),
        (tabs, tabs()),
        (functools.partial(read_all, 20.5), read_all(20.5)),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_a_value_comes_back_as_its_declared_type_live_and_replayed(fn: Callable[[], Any], value: Any) -> None:
    first, again = await live_then_replayed(fn)

    assert first == again == value
    assert type(first) is type(again) is type(value)


async def test_a_value_without_annotation_comes_back_as_plain_json() -> None:
    first, again = await live_then_replayed(
        lambda: {"span": Span(1, 2), "pair": (1, "b"), "hit": Hit(text="a"), 3: None}
    )

    assert (
        first
        == again
        == {"span": {"start": 1, "end": 2}, "pair": [1, "b"], "hit": {"text": "a", "score": 0.5}, "3": None}
    )


async def test_returns_types_a_function_without_annotation() -> None:
    first, again = await live_then_replayed(lambda: {"text": "a"}, returns=Hit)

    assert first == again == Hit(text="a")


async def test_returns_goes_before_the_annotation() -> None:
    assert await live_then_replayed(span, returns=dict[str, int]) == ({"start": 1, "end": 2}, {"start": 1, "end": 2})


async def test_a_value_that_is_live_already_has_lost_what_json_does_not_keep() -> None:
    class Longer(Hit):
        private: str = "not in Hit"

    def longer() -> Hit:
        return Longer(text="a")

    first, again = await live_then_replayed(longer)

    assert type(first) is type(again) is Hit


class Index:
    """A service object, as setup() makes them."""

    def __call__(self, text: str) -> Hit:
        return Hit(text=text)

    def search(self, text: str) -> list[Hit]:
        return [Hit(text=text)]

    async def fetch(self, text: str) -> Hit:
        return Hit(text=text)

    @classmethod
    def made(cls, text: str) -> Hit:
        return Hit(text=text)

    @staticmethod
    def plain(text: str) -> Hit:
        return Hit(text=text)

    @functools.lru_cache  # noqa: B019 - one object, kept by the test
    def cached(self, text: str) -> Hit:
        return Hit(text=text)


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


INDEX = Index()


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


async def test_readings_are_of_the_module_without_the_future_import() -> None:
    first, _ = await live_then_replayed(read_all, 1)

    assert isinstance(first[0], Reading)
