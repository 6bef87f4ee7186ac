"""A step's arguments and its value as JSON, or the StepError that says why they have none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from . import values
from .errors import StepError
from .journal import StepId
from .returns import return_type


def digest_of(step: StepId, args: tuple[Any, ...]) -> str:
    try:
        return values.digest(args)
    except ValueError as error:
        raise StepError(str(step), str(error)) from None


def type_of(step: StepId, fn: Callable[..., Any], returns: Any) -> Any:
    """The type to record; an unusable one is refused here, before the function has done anything."""
    if not callable(fn):
        if inspect.iscoroutine(fn):
            fn.close()
        raise StepError(str(step), f"needs a function and its arguments, and was given {type(fn).__name__}")
    return usable(step, return_type(fn, returns))


def usable(step: StepId, kind: Any) -> Any:
    """The type as it is. Raises StepError for one that nothing can be read as."""
    try:
        values.adapter(kind)
    except (PydanticUserError, NameError, TypeError) as error:
        raise StepError(str(step), f"its type {values.label(kind)} cannot be recorded: {values.brief(error)}") from None
    return kind


def written_as(step: StepId, kind: Any, value: Any) -> str:
    try:
        return values.encode(kind, value)
    except (ValueError, TypeError, AttributeError, RecursionError, PydanticUserError) as error:
        raise StepError(
            str(step), f"its value ({type(value).__name__}) has no JSON form: {values.brief(error)}"
        ) from None


def read_as(step: StepId, kind: Any, text: str) -> Any:
    try:
        return values.decode(kind, text)
    except ValidationError as error:
        raise StepError(str(step), f"its value does not fit its type {values.label(kind)}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}"
