"""What a run tells its listeners while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel


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


@dataclass(frozen=True, slots=True)
class Emitted:
    """One emit before it has a number: `step` is the step it came from, '' for the run itself; `data` is JSON."""

    type: str
    step: str
    at: float  # seconds since the epoch
    data: str
