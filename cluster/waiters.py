"""Who waits for news of a task."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Generic, TypeVar, cast

from .task import Ref

T = TypeVar("T")


class Waiters(Generic[T]):
    """Futures by task. Register before you read, so that no commit falls between the two."""

    def __init__(self) -> None:
        self._futures: defaultdict[Ref, set[asyncio.Future[T]]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._futures)

    def on(self, ref: Ref) -> Waiting[T]:
        """A context with a future that the next `tell` about this task resolves."""
        return Waiting(self._futures, ref)

    def tell(self, ref: Ref, news: T) -> None:
        """Resolve every future of the task."""
        for future in self._futures.get(ref, ()):
            if not future.done():
                future.set_result(news)


class Waiting(Generic[T]):
    """One who waits."""

    __slots__ = ("_future", "_futures", "_ref")

    def __init__(self, futures: defaultdict[Ref, set[asyncio.Future[T]]], ref: Ref) -> None:
        self._futures = futures
        self._ref = ref
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> asyncio.Future[T]:
        self._futures[self._ref].add(self._future)
        return self._future

    def __exit__(self, *_: object) -> None:
        waiting = self._futures[self._ref]
        waiting.discard(self._future)
        if not waiting:
            del self._futures[self._ref]


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
