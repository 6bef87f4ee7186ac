"""Workers that wait for something to do, and what each was told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import NamedTuple

from .book import Book
from .claims import Claim, Held, Hello, News, Orders
from .reporting import cancels

PULL_SECONDS = 5.0  # that a pull is parked, or twice that at most: the lease of what it brings runs from its start

Listener = tuple[Hello, int]  # a worker, and the call that its new claims would answer


class _Parked(NamedTuple):
    """A worker's pull that waits for something to do."""

    listener: Listener
    answer: asyncio.Future[Orders]


class Parking:
    """The pulls without an answer, one a worker."""

    def __init__(self) -> None:
        self._parked: dict[str, _Parked] = {}
        self._told: set[Held] = set()  # cancels that were sent to the worker; a heartbeat repeats them
        self._gone: set[str] = set()
        self._seen: dict[str, float] = {}  # line to when a worker last asked for its tasks
        self.promised: set[str] = set()  # workers for which there are claims that wait for their commit

    def listeners(self) -> dict[str, Listener]:
        """Whose pulls are parked."""
        return {id: parked.listener for id, parked in self._parked.items()}

    def is_gone(self, worker: str) -> bool:
        return worker in self._gone

    def bury(self, worker: str) -> None:
        """A worker's process has ended: it is not let in again."""
        self._gone.add(worker)
        self._resolve(worker, Orders(stop=True))

    async def park(self, worker: Hello, call: int, now: float) -> Orders:
        """Waits until the pull is answered, or for long enough; a newer pull answers an older one, empty."""
        for agent in worker.slots:
            self._seen.update(dict.fromkeys(worker.lines_of(agent), now))
        if worker.id in self._parked:
            self._resolve(worker.id, Orders())
        loop = asyncio.get_running_loop()
        parked = self._parked[worker.id] = _Parked((worker, call), loop.create_future())
        timer = loop.call_later(PULL_SECONDS, self._send_home, parked)
        try:
            return await parked.answer
        finally:
            timer.cancel()

    def last_asked(self, line: str) -> float | None:
        """When a worker last asked for tasks of this line."""
        return self._seen.get(line)

    def orders(self, book: Book, worker: str, claims: tuple[Claim, ...] = ()) -> Orders:
        """What the worker was not told yet; it is told now."""
        return Orders(claims, self._untold(book, worker), _news(book, worker))

    def answer(self, book: Book, worker: str, claims: tuple[Claim, ...] = ()) -> None:
        """Answer the worker's pull, if it is parked."""
        if worker in self._parked:
            self._resolve(worker, self.orders(book, worker, claims))

    def tell(self, book: Book, but: Collection[str] = ()) -> None:
        """Answer the pulls of those workers, `but` these, that were not told all."""
        if not (book.news or book.canceling):
            return
        for worker in self._parked.keys() - but:
            if worker in book.news or any(held not in self._told for held in cancels(book, worker)):
                self.answer(book, worker)

    def answer_all(self, orders: Orders) -> None:
        for worker in list(self._parked):
            self._resolve(worker, orders)

    def _untold(self, book: Book, worker: str) -> tuple[Held, ...]:
        if not book.canceling:
            return ()
        untold = tuple(claim for claim in cancels(book, worker) if claim not in self._told)
        if untold:
            self._told = {claim for claim in self._told if claim[:2] in book.running} | set(untold)
        return untold

    def _send_home(self, parked: _Parked, *, late: bool = False) -> None:
        """It was parked for long enough; unless there are claims for it already, which get as long again to come."""
        id = parked.listener[0].id
        if self._parked.get(id) is not parked:
            return
        if id in self.promised and not late:
            asyncio.get_running_loop().call_later(PULL_SECONDS, partial(self._send_home, parked, late=True))
        else:
            self._resolve(id, Orders())

    def _resolve(self, worker: str, orders: Orders) -> None:
        parked = self._parked.pop(worker, None)
        if parked is not None and not parked.answer.done():
            parked.answer.set_result(orders)


def _news(book: Book, worker: str) -> tuple[tuple[Held, tuple[News, ...]], ...]:
    if worker not in book.news:
        return ()
    by_claim: defaultdict[Held, list[News]] = defaultdict(list)
    for held, news in book.news.pop(worker):
        by_claim[held].append(news)
    return tuple((held, tuple(found)) for held, found in by_claim.items())
