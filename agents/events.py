"""What a run tells its listeners while it works."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel

from . import values
from .errors import Permanent


class Progress(BaseModel):
    """Something was reached; `data` may be any pydantic or JSON value."""

    type: ClassVar[str] = "progress"
    message: str = ""
    data: Any = None


class TextDelta(BaseModel):
    """The next piece of the answer's text, sent when it is known."""

    type: ClassVar[str] = "text.delta"
    text: str


class ToolCall(BaseModel):
    """A tool was called."""

    type: ClassVar[str] = "tool.call"
    name: str
    arguments: Any = None


Emit = Progress | TextDelta | ToolCall

_TYPES = (
    Progress.type,
    TextDelta.type,
    ToolCall.type,
)  # a subclass may not pass for an event of the host, such as output


class Emitted(NamedTuple):
    """One emit before it has a number: `step` is the step it came from, '' for the run itself; `data` is JSON."""

    type: str
    step: str
    at: float  # seconds since the epoch
    data: str


def written(event: Emit) -> str:
    """The event's data as JSON text. Raises Permanent for what is no event, or has no JSON form."""
    if not isinstance(event, Emit) or event.type not in _TYPES:
        raise Permanent(f"emit takes a Progress, a TextDelta or a ToolCall, and was given {type(event).__name__}")
    try:
        return values.encode(type(event), event)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Permanent(f"a {event.type} event has no JSON form: {error}") from None
