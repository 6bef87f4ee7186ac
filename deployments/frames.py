"""What is said over the WebSocket of a session: frames in, frames out, and what to do with an input that comes while
another is answered."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal, NamedTuple

from typing_extensions import TypedDict

from agents import values
from agents.journal import KEY_LIMIT
from agents.policies import OnMessage
from cluster.task import Event

from . import bodies
from .events import event_json
from .gateway.fragments import member
from .problems import Problem, Refused

LAST = frozenset(["output", "failed", "promoted"])  # events after which a turn has its answer
WAITING = 16  # inputs of one socket that wait for their turn

_text = json.JSONEncoder().encode


UNREAD = object()


class Input(NamedTuple):
    """A turn that the client asks for: `given`, where it is known to be what the agent takes, else `input`, as JSON."""

    id: str
    input: str
    given: Any = UNREAD


class Cancel(NamedTuple):
    """The turn of that id is not wanted any more."""

    id: str


class BadFrame(Exception):
    """What came is no frame. `id` is the one it has, None where it has none that can be used."""

    def __init__(self, problem: Problem, id: str | None = None) -> None:
        super().__init__(problem, id)
        self.problem = problem
        self.id = id


class Reader:
    """Reads the frames of conversations with agents that take this type: a turn where all is right is parsed once."""

    def __init__(self, takes: Any) -> None:
        frame = TypedDict("frame", {"type": Literal["input"], "id": str, "input": takes})  # noqa: UP013 - `takes` is a value
        self._turn = values.adapter(frame).validator.validate_json

    def read(self, text: str) -> Input | Cancel:
        """The frame in a message. Raises BadFrame."""
        if not ("\\u0000" in text or "NaN" in text or "Infinity" in text):  # parsers let them pass, and we do not
            try:
                found = self._turn(text, extra="forbid")
            except ValueError:
                return read(text)  # and say what is wrong
            id = found["id"]
            if 0 < len(id) <= KEY_LIMIT and (id.isascii() or _id(id) is not None):
                return Input(id, "", found["input"])
        return read(text)


def read(text: str) -> Input | Cancel:
    """The same, whatever the agent takes."""
    try:
        found = bodies.parse(text.encode())
    except Refused as refused:
        raise BadFrame(refused.problem) from None
    except UnicodeEncodeError:
        raise BadFrame(_bad("It holds a lone surrogate.")) from None
    if not isinstance(found, dict):
        raise BadFrame(_bad("It must be an object."))
    id = _id(found.get("id"))
    kind, names = found.get("type"), {"type", "id", "input"}
    if id is None:
        raise BadFrame(_bad(f"`id` must be a text of 1 to {KEY_LIMIT} bytes."))
    if kind not in ("input", "cancel"):
        raise BadFrame(_bad("`type` must be `input` or `cancel`."), id)
    if more := [name for name in found if name not in names or (kind, name) == ("cancel", "input")]:
        raise BadFrame(_bad(f"There is no field {more[0][:60]!r} in a frame of type {kind}."), id)
    if kind == "cancel":
        return Cancel(id)
    if "input" not in found:
        raise BadFrame(_bad("`input` is missing."), id)
    return Input(id, member(text, "input"))


class Move(Enum):
    """What becomes of an input."""

    WAIT = "wait"
    INTERRUPT = "interrupt"  # what runs and what waits ends, and this begins
    REJECT = "reject"
    FULL = "full"


def decide(policy: OnMessage, waiting: int) -> Move:
    """What to do with an input while a turn of its socket runs and so many others wait."""
    if policy == "enqueue":
        return Move.WAIT if waiting < WAITING else Move.FULL
    return Move.INTERRUPT if policy == "interrupt" else Move.REJECT


# what goes out


def opened(session: str) -> str:
    """The first frame: whose memory the turns read and write."""
    return f'{{"type":"session","session":{_text(session)}}}'


def failed(id: str | None, problem: Problem) -> str:
    return f'{{"type":"error","id":{_text(id)},"error":{problem.body().decode()}}}'


def output(id: str, data: str) -> str:
    """The last frame of a turn that has its answer, with the data of that event."""
    return f'{{"type":"output","id":{_text(id)},{data[1:]}'


def told(id: str, event: Event) -> str:
    """What happened in a turn: its last is an `output` or an `error`."""
    if event.type == "output":
        return output(id, event.data)
    head = f'"id":{_text(id)}'
    if event.type == "failed":
        return f'{{"type":"error",{head},{event.data[1:]}'
    return f'{{"type":"event",{head},"event":{event_json(event)}}}'


# what turns end in besides


def rejected() -> Problem:
    detail = "A turn of this session is under way, and this agent takes no other before it has ended."
    return Problem(409, "A turn is under way", detail, "/problems/turn-under-way")


def canceled(detail: str) -> Problem:
    return Problem(409, "The turn was cancelled", detail, "/problems/turn-canceled")


def twice(id: str) -> BadFrame:
    return BadFrame(_bad("A turn of this `id` is under way; each has one of its own."), id)


def _bad(detail: str) -> Problem:
    return Problem(400, "That is no frame of a session", detail, "/problems/invalid-frame")


def _id(value: Any) -> str | None:
    if isinstance(value, str) and 1 <= len(value.encode("utf-8", "replace")) <= KEY_LIMIT:
        return value
    return None
