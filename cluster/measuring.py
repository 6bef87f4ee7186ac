"""What can be measured of a ledger, gathered for whoever asks, and at a price that does not depend on how often."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter

import psutil

from .assigning import held_by
from .book import Book, Clock
from .limits import agent_key
from .stats import Measures, Process, Stats
from .store import Store
from .task import State

LOOK_SECONDS = 10.0  # between two looks at the backlog's age, which read the index of everything that is queued
PATIENCE = 1.0  # seconds that a look is waited for; later its answer is the next one's

log = logging.getLogger("rubato.ledger")


class Measuring:
    """Puts together what the ledger counts with what its book and, now and then, its store say."""

    def __init__(self, store: Store, clock: Clock, stats: Stats) -> None:
        self._store = store
        self._clock = clock
        self._stats = stats
        self._since: dict[str, float] = {}  # as `Store.oldest` said last
        self._look_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._process = psutil.Process()

    async def measures(self, book: Book, tasks: dict[str, dict[str, int]]) -> Measures:
        """What there is now; `tasks` counts them by agent and state."""
        if self._looking is None and self._clock.monotonic() >= self._look_at:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=PATIENCE)
        queued = [agent for agent, states in tasks.items() if states.get(State.QUEUED)]
        return Measures(tasks, self._ages(queued), _held(book, queued), self._stats.figures(), self._usage())

    async def _look(self) -> None:
        try:
            self._since = await self._store.oldest(self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever the database's driver raises: the rest is worth knowing
            log.warning("the age of the backlog cannot be read: %s", error)
        finally:
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
            self._looking = None

    def _ages(self, queued: list[str]) -> dict[str, float]:
        now = self._clock.now()
        return {agent: max(0.0, now - self._since[agent]) for agent in queued if agent in self._since}

    def _usage(self) -> Process:
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            return Process(self._process.create_time(), cpu.user + cpu.system, self._process.memory_info().rss)


def _held(book: Book, queued: list[str]) -> dict[str, int]:
    """How many limits hold each agent's queued tasks: those of keys that were passed over, and the agent's own."""
    passed = ((owner, {line.partition("@")[0] for line in lines}) for owner, lines in book.passed.items())
    held = Counter(agent for owner, agents in passed if held_by(book, owner) for agent in agents)
    held.update(agent for agent in queued if held_by(book, agent_key(agent)))
    return {agent: held[agent] for agent in queued if held[agent]}
