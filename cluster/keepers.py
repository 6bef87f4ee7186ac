"""What a run remembers, kept in the ledger: agents.memory.Keeper over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from agents import Permanent
from agents.errors import Overloaded
from agents.memory import State

from .durable import RESULT_BYTES, beyond
from .errors import Conflict, Unavailable
from .sessions import SessionLink, SessionRef

ENVELOPE = 64  # bytes that a state gains where it is recorded as what a step has read

Found = TypeVar("Found")


class SessionKeeper:
    """The state of one session, as one run reads and writes it."""

    def __init__(
        self,
        link: SessionLink,
        session: SessionRef,
        limit: int = RESULT_BYTES,
        pauses: Callable[[], Iterable[float]] = tuple,
    ) -> None:
        """`limit`: how many bytes a state may have, about. `pauses` are those between its tries, where the ledger is
        away or has no room."""
        self._link = link
        self._session = session
        self._limit = limit
        self._pauses = pauses

    async def read(self) -> State:
        found = await self._asked(lambda: self._link.memory(*self._session))
        return State(found.version, found.value)

    async def write(self, version: int, value: str, writer: str) -> int | None:
        """As Keeper has it. Raises Permanent for a state over the limit."""
        if excess := beyond(self._limit - ENVELOPE, value):
            raise Permanent(f"the state of session {self._session[2]!r} is {excess}")
        try:
            written = await self._asked(lambda: self._link.remember(*self._session, version, value, writer))
        except Conflict:
            return None
        return written.version

    async def _asked(self, ask: Callable[[], Awaitable[Found]]) -> Found:
        for pause in self._pauses():
            try:
                return await ask()
            except (Unavailable, Overloaded):
                await asyncio.sleep(pause)
        return await ask()
