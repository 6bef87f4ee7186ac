"""Group commit: whatever waits goes into one transaction, and is answered after its commit."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from agents import RubatoError
from agents.errors import Overloaded

from .assigning import assign
from .book import Book, Clock
from .claims import LEASE, MARGIN, Answer, Claim, Held, Orders
from .errors import Fenced, Superseded, Unavailable
from .handing import hand_over, held, read_pasts
from .parking import Listener, Parking
from .reporting import expire, refuse, release, renew_all
from .stats import Stats
from .store import Store, StoreFailed, Writes

log = logging.getLogger("rubato.ledger")

TICK = 10_000  # rows, about, that one tick takes up; what comes after waits for the next
WAITING_LIMIT = 100_000  # rows of what waits for its tick; what callers bring beyond that is refused
ROW = 1024  # characters of what a caller sends that count as one row more
EXPIRY_SECONDS = 0.5  # between two looks for leases that ran out
DEAF_SECONDS = LEASE / 2  # between two looks, after which the heartbeats of then may have been heard by nobody
OWN_SECONDS = MARGIN / 2  # after a commit, in which the store is taken to be still ours while workers hold claims
READ_PAUSE = 1.0  # seconds between two tries to read a store that is down

Apply = Callable[[Book, Any], Any]
Needs = Callable[[Store, bool], Awaitable[Any]]
Publish = Callable[[Writes], None]


class _Move(NamedTuple):
    """Something that waits for its tick: what it must read, how it changes the book, who wants to know, and which
    worker reports."""

    apply: Apply
    answer: asyncio.Future[Any]
    needs: Needs | None
    listener: Listener | None
    rows: int


class Ticks:
    """One tick applies all moves that wait, hands out what is free, commits both, and only then answers."""

    def __init__(
        self, store: Store, clock: Clock, parking: Parking, stats: Stats, publish: Publish, *, shared: bool = False
    ) -> None:
        """`shared`: another ledger may take the store while this one runs."""
        self._store = store
        self._clock = clock
        self._parking = parking
        self._stats = stats
        self._publish = publish
        self._shared = shared
        self._apart = False  # what the store says is held, is held by workers of another cluster
        self._away_until = math.inf  # when these leases of theirs are over
        self._owned_at = -math.inf  # when the store was last known to be ours
        self._moves: list[_Move] = []
        self.waiting = 0  # rows of the moves that wait
        self._woken = asyncio.Event()
        self._looked_at = 0.0  # for leases that ran out
        self._handed_out_at = 0.0
        self._fenced: Fenced | None = None
        self._stopping = False
        self._loaded = False
        self.book = Book(store, clock)

    async def load(self, *, fresh: bool) -> None:
        """Read the book, as soon as it can be. `fresh`: a new generation begins. Then whoever held a claim is gone; but
        where the store is shared, they may live on with a ledger that does not know yet, and keep their leases."""
        self._apart, self._away_until = fresh and self._shared, self._clock.monotonic() + LEASE
        try:
            await self._reload()
        except Fenced as error:
            self._give_up(error, [])
        self._loaded = True
        self._looked_at = self._clock.monotonic()
        self.look()
        if fresh and not self._shared:  # before whatever came meanwhile: no report of theirs counts any more
            came, self._moves = self._moves, []
            self._release_old([holding.held for holding in self.book.running.values()])
            self._moves += came

    def move(
        self, apply: Apply, needs: Needs | None = None, listener: Listener | None = None, *, rows: int = 1
    ) -> asyncio.Future[Any]:
        """Have the next tick do `apply(book, found)`, where `found` is what `needs(store, careful)` read in that tick,
        after all earlier ones; `careful` if the tick failed before, and this move is tried alone. `rows` is about how
        many it writes.

        The future brings what it returns, or the RubatoError it raises, once that is durable. Raises Unavailable.
        """
        self.refuse_fenced()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._moves.append(_Move(apply, answer, needs, listener, rows))
        self.waiting += rows
        self._woken.set()
        return answer

    def ask(
        self, apply: Apply, needs: Needs | None = None, *, rows: int = 1, characters: int = 0
    ) -> asyncio.Future[Any]:
        """The same for what a caller brings, of so many characters. Raises Overloaded where too much waits already."""
        rows += characters // ROW
        if self.waiting and self.waiting + rows > WAITING_LIMIT:
            self._stats.refused += 1
            raise Overloaded("too much waits to be accepted", retry_after=1.0)
        return self.move(apply, needs, rows=rows)

    def _release_old(self, claims: list[Held]) -> None:
        """Free what workers of another generation held, for no task is to blame that they are gone. Nobody else would
        ask for it again, so until it is done; and only these claims: new ones are made meanwhile."""

        def released(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and done.exception() is not None and self._fenced is None:
                asyncio.get_running_loop().call_later(READ_PAUSE, self._release_old, claims)

        if self._fenced is None and claims:
            self.move(lambda book, _: release(book, claims)).add_done_callback(released)

    def look(self) -> None:
        """Have a tick soon, whatever waits."""
        self._woken.set()

    def stop(self) -> None:
        """The tick under way is the last one: what waits then is left without an answer."""
        self._stopping = True
        self._woken.set()

    def refuse_fenced(self) -> None:
        """Raises Superseded where another owner has taken the store."""
        if self._fenced is not None:
            raise Superseded(f"this ledger is fenced: {self._fenced}")

    def refuse_unread(self) -> None:
        """Raises Unavailable where the book was not read yet: what it does not hold may be there all the same."""
        self.refuse_fenced()
        if not self._loaded:
            raise Unavailable("the ledger is starting")

    @property
    def owns(self) -> bool:
        """Whether no other ledger can have had the store for long: only then may leases be renewed."""
        return not self._shared or self._clock.monotonic() - self._owned_at < MARGIN

    async def run(self) -> None:
        """Tick after tick, until stopped, cancelled or fenced; a store that fails is tried again, for ever."""
        while self._fenced is None and not self._stopping:
            await self._wait_for_work()
            if self._stopping:
                return
            batch = self._take()
            try:
                await self._tick(batch)
            except Fenced as error:
                self._give_up(error, batch)
            except Exception as error:  # noqa: BLE001 - the store's trouble, or ours: neither may end the loop
                self._stats.failed_ticks += 1
                await self._recover(batch, error)

    def _take(self) -> list[_Move]:
        """The moves of the next tick, in the order they came."""
        rows = 0
        for place, move in enumerate(self._moves):
            rows += move.rows
            if rows > TICK and place:
                batch, self._moves = self._moves[:place], self._moves[place:]
                self.waiting -= rows - move.rows
                self._woken.set()
                return batch
        return self._take_all()

    def _take_all(self) -> list[_Move]:
        moves, self._moves, self.waiting = self._moves, [], 0
        return moves

    async def _wait_for_work(self) -> None:
        if not self._woken.is_set():
            alarm = asyncio.get_running_loop().call_later(self._next_alarm(), self._woken.set)
            await self._woken.wait()
            alarm.cancel()
        self._woken.clear()

    def _next_alarm(self) -> float:
        """Seconds until something may be due without anyone asking."""
        moments = [at for at in (self.book.ready.next_alarm(), self.book.later.next()) if at is not None]
        if not moments:
            return EXPIRY_SECONDS
        return max(0.005, min(EXPIRY_SECONDS, min(moments) - self._clock.now()))

    async def _tick(self, batch: list[_Move], *, careful: bool = False) -> None:
        book, began = self.book, time.perf_counter()
        found = [None if move.needs is None else await move.needs(self._store, careful) for move in batch]
        outcomes = [_outcome(move, book, read) for move, read in zip(batch, found, strict=True)]
        granted = await self._hand_out(batch)
        writes = book.take_writes()
        if writes or self._is_in_doubt():
            asked = self._clock.monotonic()
            await self._store.commit(writes)
            self._owned_at, self._apart = asked, False
            self._stats.committed(writes, len(batch), time.perf_counter() - began, self._clock.now())
        claims = await self._with_pasts(granted)
        self._answer(batch, outcomes, claims)
        self._publish(writes)
        if book.ready.hungry:
            self._woken.set()

    def _is_in_doubt(self) -> bool:
        """Whether leases are renewed, and another ledger may have taken the store unnoticed since the last commit."""
        return self._shared and bool(self.book.running) and self._clock.monotonic() - self._owned_at >= OWN_SECONDS

    async def _hand_out(self, batch: list[_Move]) -> dict[str, list[Claim]]:
        book, now = self.book, self._clock.now()
        self._expire()
        for owner in self._worth_a_look(book, now):
            book.reconsider(owner)
        await book.ready.fill(now, book.writes)
        reporting = {move.listener[0].id: move.listener for move in batch if move.listener}
        listeners = self._parking.listeners() | reporting
        return assign(book, {id: at for id, at in listeners.items() if not self._parking.is_gone(id)})

    def _worth_a_look(self, book: Book, now: float) -> Iterable[tuple[str, str]]:
        """The keys whose hold may be over: all of them where the clock was set back, for they were told by it."""
        back, self._handed_out_at = now < self._handed_out_at, now
        return [*book.later.due(now), *(book.passed if back else ())]

    def _answer(self, batch: list[_Move], outcomes: list[Any], claims: dict[str, tuple[Claim, ...]]) -> None:
        reporting = {move.listener[0].id for move in batch if move.listener}
        for worker in claims.keys() - reporting:
            self._parking.answer(self.book, worker, claims[worker])
        for move, outcome in zip(batch, outcomes, strict=True):
            if move.listener:
                worker = move.listener[0].id
                orders = self._parking.orders(self.book, worker, claims.pop(worker, ()))
                outcome = Answer(tuple(outcome), orders)
            _resolve(move, outcome)
        self._parking.tell(self.book)

    def _expire(self) -> None:
        """Take back what nobody holds any more; all begin anew where this process stood still, as after its start."""
        now, before = self._clock.monotonic(), self._looked_at
        if now - before < EXPIRY_SECONDS:
            return
        self._looked_at = now
        if now - before > DEAF_SECONDS:
            log.warning("nobody may have been heard for %.1f s: every lease begins anew", now - before)
            renew_all(self.book)
        for holding in expire(self.book):
            if holding.is_away:
                log.info("the lease of %s, which a worker of another cluster held, is over", holding.held)
                continue
            self._stats.lost_leases[holding.task.agent] += 1
            log.warning("the lease of %s ran out", holding.held)

    async def _with_pasts(self, granted: dict[str, list[Claim]]) -> dict[str, tuple[Claim, ...]]:
        """Claims of tasks that ran before, or were sent signals before they did, carry what there is of them."""
        try:
            pasts = await read_pasts(self._store, granted)
        except Exception as error:  # noqa: BLE001 - whatever it is, the commit has happened: the claims go back
            log.warning("claims could not be handed over: %s", error)
            lost = [held(claim) for claims in granted.values() for claim in claims]
            self.move(lambda book, _: release(book, lost))
            return {}
        handed = hand_over(granted, pasts)
        if handed.back or handed.refused:
            log.warning("too large: %d claims beside others, %d by themselves", len(handed.back), len(handed.refused))
            self.move(lambda book, _: release(book, handed.back))
            self.move(lambda book, _: refuse(book, handed.refused))
        return handed.claims

    async def _recover(self, batch: list[_Move], error: Exception) -> None:
        """Go on after a tick that failed, from what the store says."""
        try:
            if isinstance(error, Unavailable):  # what the tick wrote is stored, or not: no move may be made again
                log.warning("a tick of %d moves failed, and is not tried again: %s", len(batch), error)
                self._refuse(batch, error)
                await self._reload()
            else:
                level = logging.WARNING if isinstance(error, StoreFailed) else logging.ERROR
                log.log(level, "a tick of %d moves failed, each is tried alone", len(batch), exc_info=error)
                await self._each_alone(batch)
        except Fenced as fenced:
            self._give_up(fenced, batch)

    async def _each_alone(self, batch: list[_Move]) -> None:
        """One bad row fails its own move, not its neighbours'; where the store is down, all of them do, at once."""
        await self._start_over(waiting := deque(batch))
        while waiting:
            move = waiting.popleft()
            try:
                await self._tick([move], careful=True)
            except Fenced:
                raise
            except Exception as error:  # noqa: BLE001 - as above; whoever asked is told, and may ask again
                self._refuse([move], error)
                await self._start_over(waiting)

    async def _start_over(self, waiting: deque[_Move]) -> None:
        """Read the book again; and where the store takes nothing, be it an empty tick, refuse all that waits."""
        await self._reload(waiting)
        try:
            if waiting:
                await self._store.commit(Writes())
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse([*waiting], error)
            waiting.clear()

    async def _reload(self, waiting: deque[_Move] | None = None) -> None:
        """Read the book again from the store, for as long as it takes; where that is long, nobody waits for it."""
        while True:
            try:
                book = Book(self._store, self._clock)
                await book.load(self._away_until, apart=self._apart)
            except Fenced:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the database's driver raises, nothing works without it
                log.error("the store cannot be read, trying again: %s", error)
                refused = [*(waiting or ()), *self._take_all()]
                self._refuse(refused, error)
                if waiting is not None:
                    waiting.clear()
                await asyncio.sleep(READ_PAUSE)
            else:
                self.book = book
                return

    def _refuse(self, moves: list[_Move], error: Exception) -> None:
        for move in moves:
            _resolve(move, Unavailable(f"the ledger could not do it: {error}"))

    def _give_up(self, error: Fenced, batch: list[_Move]) -> None:
        log.error("fenced, this ledger stays down: %s", error)
        self._fenced = error
        for move in [*batch, *self._take_all()]:
            _resolve(move, Superseded(f"this ledger is fenced: {error}"))
        self._parking.answer_all(Orders(stop=True))


def _outcome(move: _Move, book: Book, found: Any) -> Any:
    """What the move answers, or the refusal it raises; a refused move has changed nothing."""
    try:
        return move.apply(book, found)
    except RubatoError as error:
        return error


def _resolve(move: _Move, outcome: Any) -> None:
    if move.answer.done():
        return
    if isinstance(outcome, Exception):
        move.answer.set_exception(outcome)
    else:
        move.answer.set_result(outcome)
