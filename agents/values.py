"""Values as JSON and back: what is recorded is text with names, and comes back as its declared type."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeVar, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python


@lru_cache(maxsize=1024)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The validator and serialiser of a type, built once."""
    return TypeAdapter(kind)


def return_type(fn: Callable[..., Any], returns: Any = None) -> Any:
    """The type that `fn`'s value comes back as: `returns`, else its annotation, else plain JSON."""
    if returns is not None:
        return returns
    while isinstance(fn, partial):
        fn = fn.func
    if inspect.isclass(fn):
        return fn
    target: Any = fn if inspect.isroutine(fn) else type(fn).__call__
    target = getattr(target, "__func__", target)
    if "return" not in (getattr(target, "__annotations__", None) or {}):
        return Any
    if target not in _returns:
        _returns[target] = _resolved(target)
    return _returns[target]


# Weak, so that closures made anew in each run are not kept.
_returns: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()


def _resolved(fn: Callable[..., Any]) -> Any:
    try:
        kind = get_type_hints(fn, include_extras=True)["return"]
    except (NameError, TypeError):
        return Any  # a name that only the type checker sees: the value is plain JSON
    return Any if isinstance(kind, TypeVar) or bool(getattr(kind, "__parameters__", None)) else kind


def encode(kind: Any, value: Any) -> str:
    """`value` as JSON text. Raises ValueError where it has no JSON form."""
    return adapter(kind).dump_json(value, warnings=False).decode()


def decode(kind: Any, text: str | bytes) -> Any:
    """The value that `text` holds, as `kind`. Raises pydantic.ValidationError where it does not fit."""
    return adapter(kind).validate_json(text)


def digest(args: tuple[Any, ...]) -> str:
    """What tells these arguments from others: a digest of their JSON, whatever the order of keys.

    Raises ValueError that says which argument has no JSON form.
    """
    plain = []
    for place, value in enumerate(args, start=1):
        try:
            plain.append(to_jsonable_python(value))
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise ValueError(
                f"argument {place} ({type(value).__name__}) is neither JSON nor pydantic: {error}"
            ) from None
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
