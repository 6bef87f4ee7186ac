"""Who waits for news of a task."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

from .task import Ref

T = TypeVar("T")


class Waiters(Generic[T]):
    """Futures by task. Register before you read, so that no commit falls between the two."""

    def __init__(self) -> None:
        self._futures: defaultdict[Ref, set[asyncio.Future[T]]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._futures)

    @contextmanager
    def on(self, ref: Ref) -> Iterator[asyncio.Future[T]]:
        """A future that the next `tell` about this task resolves."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._futures[ref].add(future)
        try:
            yield future
        finally:
            self._futures[ref].discard(future)
            if not self._futures[ref]:
                del self._futures[ref]

    def tell(self, ref: Ref, news: T) -> None:
        """Resolve every future of the task."""
        for future in self._futures.get(ref, ()):
            if not future.done():
                future.set_result(news)


async def within(future: asyncio.Future[T], seconds: float) -> T | None:
    """What the future brings within so many seconds, else None. It is the caller's own: then nobody can resolve it."""
    waiting = cast("asyncio.Future[T | None]", future)
    timer = waiting.get_loop().call_later(seconds, _give_up, waiting)
    try:
        return await waiting
    finally:
        timer.cancel()


def _give_up(waiting: asyncio.Future[T | None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
