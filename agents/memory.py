"""What a run remembers from one turn of its session to the next: one state, written by compare-and-set."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from . import values
from .errors import MemoryConflict, StepError
from .journal import StepId

READ, WRITE = "memory read", "memory write"  # the steps that a run's journal has of it


class State(NamedTuple):
    """A session's state as JSON text, and its version; 0: there is none."""

    version: int = 0
    value: str | None = None


class Keeper(Protocol):
    """Where the state of one session is kept."""

    async def read(self) -> State:
        """The newest state."""

    async def write(self, version: int, value: str, writer: str) -> int | None:
        """The version that this makes, once it is kept as firmly as this host promises; None where `version` is not
        the newest. The same write again, by its `writer`, is done once."""


class Own(Protocol):
    """How a run makes steps of Rubato's own."""

    async def __call__(self, name: str, args: tuple[Any, ...], reach: Callable[[StepId], Awaitable[str]]) -> str:
        """The JSON that is recorded of the step, or what `reach` gives now, once that is recorded."""


class Memory(Protocol):
    """`ctx.memory`, as an agent sees it."""

    @property
    def version(self) -> int:
        """That of the state which this run read or wrote last; 0: it did neither, or there was none."""

    async def read(self, kind: Any = Any) -> Any:
        """The session's state as a `kind`, None where nothing was written yet."""

    async def write(self, value: Any) -> None:
        """Make this the session's state, in the place of that which this run read or wrote last; durable when this
        returns. Raises MemoryConflict where another run has written since."""


class SessionMemory:
    """The memory of a run that has a session. What is read, and what came of a write, is recorded as a step is, so
    that a replay goes the same way."""

    def __init__(self, session: str, keeper: Keeper, own: Own, writer: Callable[[StepId], str]) -> None:
        """`writer` names a write, the same whenever and wherever its step runs."""
        self._session = session
        self._keeper = keeper
        self._own = own
        self._writer = writer
        self.version = 0

    async def read(self, kind: Any = Any) -> Any:
        """As Memory has it."""

        async def reach(step: StepId) -> str:
            found = await self._keeper.read()
            return f'{{"version":{found.version},"value":{"null" if found.value is None else found.value}}}'

        kept = json.loads(await self._own(READ, (), reach))
        self.version = kept["version"]
        return _typed(kind, kept["value"]) if self.version else None

    async def write(self, value: Any) -> None:
        """As Memory has it."""
        version, text = self.version, _text(value)

        async def reach(step: StepId) -> str:
            return json.dumps(await self._keeper.write(version, text, self._writer(step)))

        written = json.loads(await self._own(WRITE, (version, json.loads(text)), reach))
        if written is None:
            raise MemoryConflict(self._session, version)
        self.version = written


class RunMemory:
    """The memory of a run without a session: it begins empty, and ends with the run."""

    def __init__(self) -> None:
        self._value: str | None = None
        self.version = 0

    async def read(self, kind: Any = Any) -> Any:
        """As Memory has it."""
        return None if self._value is None else _typed(kind, json.loads(self._value))

    async def write(self, value: Any) -> None:
        """As Memory has it; nobody else writes here."""
        self._value = _text(value)
        self.version += 1


def _text(value: Any) -> str:
    try:
        return values.encode(type(value), value)
    except (ValueError, TypeError, AttributeError, RecursionError, PydanticUserError) as error:
        reason = f"the state ({type(value).__name__}) has no JSON form: {values.brief(error)}"
        raise StepError(WRITE, reason) from None


def _typed(kind: Any, value: Any) -> Any:
    try:
        return values.decode(kind, json.dumps(value))
    except ValidationError as error:
        reason = (
            f"{error.errors(include_url=False, include_input=False)[0]['msg']}; a field that is new needs a default"
        )
        raise StepError(READ, f"what the session remembers does not fit {values.label(kind)}: {reason}") from None
