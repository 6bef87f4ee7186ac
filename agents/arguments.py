"""What tells one call's arguments from another's: a digest of their JSON, the same in every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel, RootModel
from pydantic_core import to_jsonable_python

_NESTED = (dict, list)
_text = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def digest(args: tuple[Any, ...]) -> str:
    """A digest of these arguments, whatever the order of keys and of sets.

    Raises ValueError that says which argument has no JSON form.
    """
    texts = []
    for place, value in enumerate(args, start=1):
        try:
            texts.append(_text(_ordered(to_jsonable_python(value, by_alias=False), value)))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"argument {place} ({type(value).__name__}) is neither JSON nor pydantic: {error}"
            ) from None
    return hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()[:32]


def _ordered(plain: Any, value: Any) -> Any:
    """`plain`, the JSON form of `value`, with what was a set in an order that does not depend on the process."""
    if not isinstance(plain, _NESTED):
        return plain
    if isinstance(value, RootModel):
        return _ordered(plain, value.root)
    if isinstance(value, Iterator):
        raise ValueError("it can be gone through only once; pass a list")
    parts = zip(plain, _sources(plain, value), strict=True)
    if isinstance(plain, dict):
        return {key: _ordered(plain[key], source) for key, source in parts}
    items = [_ordered(item, source) if isinstance(item, _NESTED) else item for item, source in parts]
    return sorted(items, key=_text) if isinstance(value, Set) else items


def _sources(plain: dict[str, Any] | list[Any], value: Any) -> Iterable[Any]:
    """What each item of `plain` was made from; None where a serialiser of its own made something else of it."""
    if isinstance(plain, dict) and (isinstance(value, BaseModel) or is_dataclass(value)):
        return [getattr(value, key, None) for key in plain]
    whole = value.values() if isinstance(value, Mapping) else value
    same = isinstance(whole, ValuesView | Sequence | Set) and len(whole) == len(plain)
    return whole if same else [None] * len(plain)
