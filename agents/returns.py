"""The type that a function's value comes back as: what its author wrote after the arrow."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from functools import partial, reduce
from operator import or_
from types import SimpleNamespace, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from .batching import Batching

# Weak, so that closures made anew in each run are not kept.
_known: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()


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
    try:
        return _known[target]
    except KeyError:
        kind = _annotation(target)
        known = _kept_as(_one_of(kind) if isinstance(getattr(target, "batched", None), Batching) else kind)
        _known[target] = known
        return known


def _annotation(fn: Callable[..., Any]) -> Any:
    """What stands after the arrow, without a look at the parameters: their types may be known to a checker only."""
    inner: Any = inspect.unwrap(fn)
    arrow = SimpleNamespace(__annotations__={"return": fn.__annotations__["return"]})
    try:
        return get_type_hints(arrow, getattr(inner, "__globals__", {}), _enclosing(inner), include_extras=True)[
            "return"
        ]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any  # a name that only the type checker sees: the value is plain JSON


def _enclosing(fn: Any) -> dict[str, Any]:
    """The names that a nested function takes from the function around it."""
    names = fn.__code__.co_freevars if hasattr(fn, "__code__") else ()
    found = {}
    for name, cell in zip(names, getattr(fn, "__closure__", None) or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _one_of(kind: Any) -> Any:
    """The type of one result, of a function that gives a list of them, some of which may be errors."""
    if get_origin(kind) in (Awaitable, Coroutine):
        kind = get_args(kind)[-1]
    args = [each for each in get_args(kind) if each is not Ellipsis]
    if len(args) != 1:
        return Any
    [one] = args
    if get_origin(one) not in (Union, UnionType):
        return one
    values = [each for each in get_args(one) if not (inspect.isclass(each) and issubclass(each, BaseException))]
    return reduce(or_, values) if values else Any


def _kept_as(kind: Any) -> Any:
    """The type to record a value of `kind` as: what is awaited or run through is recorded as what comes out of it."""
    if isinstance(kind, TypeVar) or (getattr(kind, "__parameters__", None) and not inspect.isclass(kind)):
        return Any  # what a type variable stands for in this call, nobody knows
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin in (Awaitable, Coroutine):
        return args[-1] if args else Any
    if origin in (Iterable, Iterator, Generator):
        return list[args[0]] if args else list  # type: ignore[valid-type]
    return kind
