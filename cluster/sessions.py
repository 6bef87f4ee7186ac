"""The memory of a session: one state, which changes only for whoever knows the newest."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .errors import Conflict

SessionRef = tuple[str, str, str]  # (tenant, agent, session)


class Memory(NamedTuple):
    """What a session remembers. `version` counts its writes; 0: there is nothing, or what there was is forgotten."""

    version: int = 0
    value: str | None = None  # JSON text


class Session(NamedTuple):
    """A session's state as it is stored. `writer` names the write that made it, so that one that is sent again is known
    for what it is."""

    tenant: str
    agent: str
    id: str
    version: int
    value: str
    writer: str
    written_at: float

    @property
    def ref(self) -> SessionRef:
        return self.tenant, self.agent, self.id

    @property
    def memory(self) -> Memory:
        return Memory(self.version, self.value)


class SessionLink(Protocol):
    """The ledger as a run sees it that has a session. Each method may raise Unavailable, and the same call may then be
    made again."""

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        """What the session remembers."""

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        """The memory with this value, once it is durable. Raises Conflict where `version` is not the newest.

        The same write sent again, by its `writer`, is done once.
        """


def succeed(stored: Session | None, new: Session) -> Session:
    """What is stored from now on, where `new` follows from the version that it names. Raises Conflict where that is not
    the newest."""
    newest = stored.version if stored is not None else 0
    if stored is not None and new.writer and (stored.writer, stored.version) == (new.writer, new.version + 1):
        return stored  # it is written already
    if newest != new.version:
        raise Conflict(
            f"session {new.id!r} is at version {newest} meanwhile, and this follows from version {new.version}"
        )
    return new._replace(version=newest + 1)
