"""Values as JSON and back: what is recorded is text with names, and comes back as its declared type."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NoReturn, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from .arguments import digest

__all__ = ["adapter", "brief", "decode", "digest", "encode", "label", "publish", "receive", "refuse_constants"]

# NaN is then written as it is, and refused; pydantic's own way is a null that nobody meant.
_CONFIG = ConfigDict(ser_json_inf_nan="constants")


@lru_cache(maxsize=1024)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The validator and serialiser of a type, built once. Raises PydanticUserError for a type that has none."""
    try:
        return TypeAdapter(kind, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(kind)  # a model says in its own config how it is written


def encode(kind: Any, value: Any) -> str:
    """`value` as the JSON text that `decode` reads. Raises ValueError where it has no JSON form."""
    text = adapter(kind).serializer.to_json(value, warnings=False, by_alias=False, round_trip=kind is not Any)
    refuse_constants(text)
    return text.decode()


def decode(kind: Any, text: str | bytes) -> Any:
    """The value that `encode` wrote, as `kind`. Raises pydantic.ValidationError where it does not fit."""
    return adapter(kind).validator.validate_json(text, by_alias=False, by_name=True)


def publish(kind: Any, value: Any) -> str:
    """`value` as a reader of its JSON Schema expects it: by alias, and with what it computes.

    Raises ValueError where it has no JSON form, and pydantic.ValidationError where that is not one of the kind.
    """
    known = adapter(kind)  # and not through `encode` and `decode`: each answer comes along here
    text = known.serializer.to_json(value, warnings=False, by_alias=False, round_trip=kind is not Any)
    refuse_constants(text)
    known.validator.validate_json(text, by_alias=False, by_name=True)
    return known.serializer.to_json(value, warnings=False, by_alias=True).decode()


def receive(kind: Any, text: str | bytes) -> Any:
    """The value that somebody published, or wrote by its JSON Schema, as `kind`; what it computes is computed anew.

    Raises pydantic.ValidationError where it does not fit.
    """
    try:
        return adapter(kind).validate_json(text, by_alias=True, by_name=True)
    except ValidationError:
        return adapter(kind).validate_json(text, by_alias=True, by_name=True, extra="ignore")


def refuse_constants(text: str | bytes) -> None:
    """Raises ValueError for NaN and Infinity, which parsers let pass though JSON has no such numbers."""
    found = ("NaN" in text or "Infinity" in text) if isinstance(text, str) else (b"NaN" in text or b"Infinity" in text)
    if found:  # if only in a string
        json.loads(text, parse_constant=_refuse)


def label(kind: Any) -> str:
    """What a type is called in a message."""
    return str(kind) if get_args(kind) else getattr(kind, "__name__", str(kind))


def brief(error: BaseException) -> str:
    """The first line of an error: pydantic goes on with advice to the author of the type."""
    return str(error).partition("\n")[0]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")
