"""A session in a test: what the runs of its turns remember, and what somebody else writes between them."""

from __future__ import annotations

import json
from typing import Any

from .memory import State
from .values import encode


class Session:
    """Give it to the hosts of its turns, one after the other or at once: `Host(agent, session=session)`."""

    def __init__(self, id: str = "session", value: Any = None) -> None:
        self.id = id
        self._state = State()
        self._writer = ""
        if value is not None:
            self.put(value)

    @property
    def version(self) -> int:
        return self._state.version

    @property
    def value(self) -> Any:
        """What it remembers, as plain JSON; None before the first write."""
        return None if self._state.value is None else json.loads(self._state.value)

    def put(self, value: Any) -> None:
        """Write as another run would."""
        self._state = State(self.version + 1, encode(type(value), value))
        self._writer = ""

    # as a run's keeper

    async def read(self) -> State:
        return self._state

    async def write(self, version: int, value: str, writer: str) -> int | None:
        """As agents.memory.Keeper has it."""
        if (self._writer, self.version) == (writer, version + 1):
            return self.version
        if version != self.version:
            return None
        self._state, self._writer = State(version + 1, value), writer
        return self.version
