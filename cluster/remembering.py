"""Sessions in the ledger: what they remember is read from the store, and written by compare-and-set."""

from __future__ import annotations

from .book import Book, Clock
from .sessions import Memory, Session, SessionRef, succeed
from .store import Store
from .ticks import Ticks

FORGET = 25  # sessions that one tick forgets: their states may be large


class Remembering:
    """What a ledger lets callers and runs do with sessions."""

    _ticks: Ticks
    _reads: Store
    _clock: Clock

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        """What the session remembers."""
        found = await self._reads.session(tenant, agent, session)
        return Memory() if found is None else found.memory

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        """The memory with this value, once it is durable. Raises Conflict where `version` is not the newest.

        The same write sent again, by its `writer`, is done once.
        """
        new = Session(tenant, agent, session, version, value, writer, self._clock.now())

        def apply(book: Book, stored: Session | None) -> Memory:
            stored = book.writes.sessions.get(new.ref, stored)
            written = succeed(stored, new)
            if written is not stored:  # which is here without its value
                book.writes.sessions[new.ref] = written
            return Memory(written.version, value)

        memory: Memory = await self._ticks.ask(
            apply, lambda store, _: store.session(tenant, agent, session, whole=False), characters=len(value)
        )
        return memory


def forget(book: Book, idle: list[SessionRef]) -> int:
    """Delete these but for those that this tick writes; how many."""
    going = [ref for ref in idle if ref not in book.writes.sessions]
    book.writes.sessions |= dict.fromkeys(going)
    return len(going)
