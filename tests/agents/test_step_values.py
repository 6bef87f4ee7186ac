"""What a step's value comes back as: its declared type, by way of JSON, the same live and replayed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, Json, computed_field

from .evaluated import Reading, read_all
from .given import Hit, Span
from .making import live_then_replayed

T = TypeVar("T")


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


async def test_readings_are_of_the_module_without_the_future_import() -> None:
    first, _ = await live_then_replayed(read_all, 1)

    assert isinstance(first[0], Reading)
