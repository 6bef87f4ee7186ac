"""Calls of one item each, gathered so that a function is called for many of them at once.

The method is that of delayed batching (Crankshaw et al., Clipper, NSDI 2017), which model servers have as their dynamic
batcher: the first call waits a little for others, and what comes while a batch is at work makes up the next one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from contextvars import Context, ContextVar
from copy import copy
from dataclasses import dataclass, field
from functools import partial, wraps
from itertools import islice
from typing import Any, Protocol, TypeVar, overload

from .calling import call
from .errors import Permanent, RubatoError

Item = TypeVar("Item")
Found = TypeVar("Found")
Owner = TypeVar("Owner")
Many = Awaitable[Sequence[Found | Exception]] | Sequence[Found | Exception]

_within: ContextVar[_Function | None] = ContextVar("rubato_batch", default=None)


@dataclass(frozen=True, slots=True)
class Batching:
    """How calls are gathered: a batch of `max_size` begins at once, a smaller one when its first call has waited for
    `max_wait` seconds; while `parallel` batches are at work, the next one waits."""

    max_size: int = 32
    max_wait: float = 0.01
    parallel: int = 1

    def __post_init__(self) -> None:
        if not (self.max_size >= 1 and self.parallel >= 1 and 0 <= self.max_wait <= 60):
            raise ValueError("batched: max_size and parallel are at least 1, and max_wait is 0 to 60 seconds")

    def pause(self, *, waiting: int, working: int, since: float, now: float) -> float | None:
        """Seconds until a batch begins, of what waits since then; None where nothing does, or no batch may."""
        if not waiting or working >= self.parallel:
            return None
        return 0.0 if waiting >= self.max_size else max(0.0, since + self.max_wait - now)


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[[list[Item]], Many[Found]]) -> Callable[[Item], Coroutine[Any, Any, Found]]: ...

    @overload
    def __call__(
        self, fn: Callable[[Owner, list[Item]], Many[Found]]
    ) -> Callable[[Owner, Item], Coroutine[Any, Any, Found]]: ...


def batched(*, max_size: int = 32, max_wait: float = 0.01, parallel: int = 1) -> _Decorator:
    """Have a function of many items be called with one: `fn(items)` gives one result for each, in their order, and
    `await fn(item)` the one of that item, out of a batch with the calls that others make at the time.

    A method gathers the calls of each object apart. What `fn` raises fails all of its batch; an exception among its
    results fails the call of that item. A plain function runs in a thread.
    """
    batching = Batching(max_size, max_wait, parallel)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        function = _Function(fn, batching)
        one = _of_a_method(function) if _is_method(fn) else _of_a_function(function)
        one = wraps(fn)(one)
        one.__dict__["batched"] = batching
        return one

    return decorate


def refuse_in_batch() -> None:
    """Raises RubatoError in a batch, which belongs to no run."""
    function = _within.get()
    if function is not None:
        raise RubatoError(
            f"{function.name} works for several runs at once, so it can ask nothing of the context of one; give it "
            "what it needs with each item"
        )


def _of_a_function(function: _Function) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def one(item: Any) -> Any:
        return await function.give((), item)

    return one


def _of_a_method(function: _Function) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def one(self: Any, item: Any) -> Any:
        return await function.give((self,), item)

    return one


def _is_method(fn: Callable[..., Any]) -> bool:
    """Whether it takes more than the items: whose method it is. Raises TypeError for what cannot be batched."""
    if isinstance(fn, staticmethod | classmethod):
        raise TypeError(f"batched: write @{type(fn).__name__} above @batched, not below it")
    if inspect.isasyncgenfunction(fn):
        raise TypeError("batched: the function returns a list and does not yield")
    parameters = inspect.signature(fn).parameters.values()
    given = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    required = [each for each in given if each.default is each.empty]
    if len(required) not in (1, 2):
        raise TypeError("batched: the function takes a list of items, and self where it is a method, and nothing else")
    return len(required) == 2


class _Function:
    """A function that is called with batches. There is a batcher for each loop and object only while it has work."""

    def __init__(self, fn: Callable[..., Any], batching: Batching) -> None:
        self.name = getattr(fn, "__qualname__", repr(fn))
        self.batching = batching
        self._fn = fn
        self._threaded = not inspect.iscoroutinefunction(fn)
        self._batchers: dict[tuple[asyncio.AbstractEventLoop, int | None], _Batcher] = {}

    async def give(self, owner: tuple[Any, ...], item: Any) -> Any:
        """The result of this item."""
        if _within.get() is self:
            raise RubatoError(f"{self.name} calls itself, one item at a time, and would wait for itself")
        place = (asyncio.get_running_loop(), id(owner[0]) if owner else None)
        batcher = self._batchers.get(place)
        if batcher is None:  # it holds on to its owner, whose id is nobody else's meanwhile
            idle = partial(self._batchers.pop, place)
            batcher = _Batcher(self.batching, partial(self.work, owner), self._threaded, idle)
            self._batchers[place] = batcher
        return await batcher.give(item)

    async def work(self, owner: tuple[Any, ...], items: list[Any]) -> list[Any]:
        """A result, or an exception, for each of these items."""
        try:
            _within.set(self)
            return self._matched(await call(self._fn, (*owner, list(items)), cancellable=True), len(items))
        except Exception as error:  # noqa: BLE001 - somebody else's code
            return [error] * len(items)

    def _matched(self, found: Any, count: int) -> list[Any]:
        if not isinstance(found, Iterable) or isinstance(found, str | bytes | Mapping | Set):
            raise Permanent(f"{self.name} returned {type(found).__name__}; a batch gives a list, one result per item")
        results = list(found)
        if len(results) != count:
            raise Permanent(
                f"{self.name} was given {count} items and returned {len(results)} results, not one for each"
            )
        return results


@dataclass(eq=False, slots=True)
class _Place:
    """One call's place in the queue, then in a batch."""

    item: Any
    since: float
    answer: asyncio.Future[Any]
    batch: _Batch | None = None


@dataclass(eq=False, slots=True)
class _Batch:
    places: list[_Place]
    left: int = 0  # how many of its callers have
    work: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class _Batcher:
    """The calls that one loop makes of one function, of one object where it is a method: first come, first served."""

    batching: Batching
    work: Callable[[list[Any]], Coroutine[Any, Any, list[Any]]]
    threaded: bool  # nothing can interrupt it then
    idle: Callable[[], object]  # told when nothing waits and nothing works
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _waiting: dict[_Place, None] = field(default_factory=dict)  # in the order they came
    _working: set[_Batch] = field(default_factory=set)
    _bell: asyncio.TimerHandle | None = None

    async def give(self, item: Any) -> Any:
        place = _Place(item, self._loop.time(), self._loop.create_future())
        self._waiting[place] = None
        if len(self._waiting) >= self.batching.max_size:
            self._look()
        else:
            self._ring()  # not at once, even where nobody is waited for: others may come in this turn of the loop
        try:
            return await asyncio.shield(place.answer)
        except asyncio.CancelledError:
            await self._leave(place)
            raise

    def _pause(self) -> float | None:
        since = next((place.since for place in self._waiting), 0.0)
        waiting, working = len(self._waiting), len(self._working)
        return self.batching.pause(waiting=waiting, working=working, since=since, now=self._loop.time())

    def _ring(self) -> None:
        """Look again when a batch is due."""
        pause = self._pause()
        if pause is not None and self._bell is None:
            self._bell = self._loop.call_later(pause, self._look)

    def _look(self) -> None:
        """Begin the batches that are due."""
        if self._bell is not None:
            self._bell.cancel()
            self._bell = None
        while self._pause() == 0:
            self._begin()
        self._ring()
        if not self._waiting and not self._working:
            self.idle()

    def _begin(self) -> None:
        batch = _Batch(list(islice(self._waiting, self.batching.max_size)))
        for place in batch.places:
            del self._waiting[place]
            place.batch = batch
        self._working.add(batch)
        # in a context of its own: whatever the first caller's says is not so for the others
        batch.work = self._loop.create_task(self._carry_out(batch), context=Context())

    async def _carry_out(self, batch: _Batch) -> None:
        try:
            found = await self.work([place.item for place in batch.places])
            for place, result in zip(batch.places, found, strict=True):
                _settle(place.answer, result)
        finally:
            for place in batch.places:
                place.answer.cancel()  # those without an answer: the work was cancelled
            self._working.discard(batch)
            self._look()

    async def _leave(self, place: _Place) -> None:
        """One caller goes: its item is not worked on if it still waits, and a batch that all have left is cancelled.
        Nobody leaves a batch in a thread: as with any step, the run of a caller lasts as long as what it started."""
        batch = place.batch
        if batch is None:
            del self._waiting[place]
            self._look()
        elif batch not in self._working:
            return
        elif self.threaded:
            await asyncio.wait({place.answer})
        else:
            batch.left += 1
            if batch.left == len(batch.places) and batch.work is not None:
                batch.work.cancel()


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if isinstance(result, Exception):
        answer.set_exception(_own(result))
        answer.exception()  # seen: a caller who has left leaves no complaint about one that is never read
    else:
        answer.set_result(result)


def _own(error: Exception) -> Exception:
    """The error for one caller of several, each of which says in it from which of its steps it came."""
    if isinstance(error, StopIteration):  # no future carries it
        error = RuntimeError(f"StopIteration: {error}")
    for again in (_made_again, copy):
        with suppress(Exception):  # a foreign class may forbid either; then they share it
            own = again(error)
            if str(own) == str(error):
                own.__cause__, own.__context__ = error.__cause__, error.__context__
                own.__suppress_context__ = error.__suppress_context__
                return own.with_traceback(error.__traceback__)
    return error


def _made_again(error: Exception) -> Exception:
    """As pickle would, but without `__init__`, which may take other arguments than those it passed on."""
    own = type(error).__new__(type(error), *error.args)
    own.__dict__.update(error.__dict__)
    return own
