"""Group commit: whatever waits goes into one transaction, and is answered after its commit.

While one is committed the next is made ready, as far as it reads nothing of the store. Where the commit fails, both
are made anew from what the store says.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from agents.errors import Overloaded

from .assigning import assign
from .book import Book, Clock
from .claims import LEASE, MARGIN, Answer, Claim, Held, Orders
from .errors import Fenced, Superseded, Unavailable
from .handing import hand_over, held, read_pasts
from .moves import Apply, Move, Moves, Needs, Tick
from .parking import Listener, Parking
from .reporting import expire, refuse, release, renew_all
from .stats import Stats
from .store import Store, StoreFailed, Writes

log = logging.getLogger("rubato.ledger")

WAITING_LIMIT = 100_000  # rows of what waits for its tick; what callers bring beyond that is refused
ROW = 1024  # characters of what a caller sends that count as one row more
EXPIRY_SECONDS = 0.5  # between two looks for leases that ran out
DEAF_SECONDS = LEASE / 2  # between two looks, after which the heartbeats of then may have been heard by nobody
OWN_SECONDS = MARGIN / 2  # after a commit, in which the store is taken to be still ours while workers hold claims
READ_PAUSE = 1.0  # seconds between two tries to read a store that is down
TURNS = 3  # of the loop, in which an answer leaves
BESIDE = 16  # rows that a tick writes, above which its commit takes long enough to make another ready beside it

Publish = Callable[[Writes], None]


class Ticks:
    """One tick applies all moves that wait, hands out what is free, commits both, and only then answers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        parking: Parking,
        stats: Stats,
        ends: Publish,
        publish: Publish,
        *,
        shared: bool = False,
    ) -> None:
        """`ends` tells who waits for a task's end, `publish` others. `shared`: another may take the store too."""
        self._store = store
        self._clock = clock
        self._parking = parking
        self._stats = stats
        self._ends = ends
        self._publish = publish
        self._shared = shared
        self._apart = False  # what the store says is held, is held by workers of another cluster
        self._away_until = math.inf  # when these leases of theirs are over
        self._owned_at = -math.inf  # when the store was last known to be ours
        self._moves = Moves()
        self._ahead: Tick | None = None  # made while the one before is committed
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
            came = self._moves.take_all()
            self._release_old([holding.held for holding in self.book.running.values()])
            for move in came:
                self._moves.add(move)

    def move(
        self,
        apply: Apply,
        needs: Needs | None = None,
        listener: Listener | None = None,
        *,
        rows: int = 1,
        ahead: bool = False,
    ) -> asyncio.Future[Any]:
        """Have the next tick do `apply(book, found)`, where `found` is what `needs(store, careful)` read in that tick,
        after all earlier ones; `careful` if the tick failed before, and this move is tried alone. `rows` is about how
        many it writes. `ahead`: unless it is tried alone it needs nothing, and it has nothing told to any worker but in
        its answer, so that it may be made while the tick before is committed.

        The future brings what it returns, or the RubatoError it raises, once that is durable. Raises Unavailable.
        """
        self.refuse_fenced()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._moves.add(Move(apply, answer, needs, listener, rows, ahead))
        return answer

    def ask(
        self, apply: Apply, needs: Needs | None = None, *, rows: int = 1, characters: int = 0, ahead: bool = False
    ) -> asyncio.Future[Any]:
        """The same for what a caller brings, of so many characters. Raises Overloaded where too much waits already."""
        rows += characters // ROW
        if self._moves.rows and self._moves.rows + rows > WAITING_LIMIT:
            self._stats.refused += 1
            raise Overloaded("too much waits to be accepted", retry_after=1.0)
        return self.move(apply, needs, rows=rows, ahead=ahead)

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
        self._moves.woken.set()

    def stop(self) -> None:
        """The tick under way is the last one: what waits then is left without an answer."""
        self._stopping = True
        self._moves.woken.set()

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
            tick, self._ahead = self._ahead, None
            if tick is None:
                await self._tidy()
                await self._moves.wait(self._next_alarm)
                if self._stopping:
                    return
            batch = self._moves.take() if tick is None else tick.batch
            try:
                await self._finish(tick or await self._make(batch))
            except Fenced as error:
                self._give_up(error, batch)
            except Exception as error:  # noqa: BLE001 - the store's trouble, or ours: neither may end the loop
                self._stats.failed_ticks += 1
                await self._recover(batch, error)

    async def _tidy(self) -> None:
        """What has time until those who were answered have heard it."""
        for _ in range(TURNS):
            if not self._moves.woken.is_set():
                await asyncio.sleep(0)
        self._stats.count()

    def _next_alarm(self) -> float:
        """Seconds until something may be due without anyone asking."""
        moments = [at for at in (self.book.ready.next_alarm(), self.book.later.next()) if at is not None]
        if not moments:
            return EXPIRY_SECONDS
        return max(0.005, min(EXPIRY_SECONDS, min(moments) - self._clock.now()))

    async def _make(self, batch: list[Move], *, careful: bool = False) -> Tick:
        """Read what the moves need, make them, and hand out what is free."""
        tick, began = Tick(batch), time.perf_counter()
        found = []
        for move in batch:
            needed = move.needs is not None and (careful or not move.ahead)
            found.append(await move.needs(self._store, careful) if needed and move.needs else None)
        tick.outcomes = [move.made(self.book, read) for move, read in zip(batch, found, strict=True)]
        await self.book.ready.fill(self._clock.now(), self.book.writes)
        self._hand_out(tick)
        tick.took = time.perf_counter() - began
        return tick

    def _make_ahead(self, batch: list[Move], before: Tick) -> Tick:
        """The same beside the commit of the tick before, which answers parked pulls: those that get claims by it, and
        those of whom there is news."""
        tick, began = Tick(batch), time.perf_counter()
        try:
            tick.outcomes = [move.made(self.book, None) for move in batch]
            self._hand_out(tick, (before.granted.keys() - before.reporting) | self.book.news.keys())
        except Exception as error:  # noqa: BLE001 - whatever it was, the commit under way comes first
            tick.error = error
        tick.took = time.perf_counter() - began
        return tick

    async def _finish(self, tick: Tick, *, alone: bool = False) -> None:
        """Commit a tick and answer it; unless it is to be `alone`, the next may be made meanwhile."""
        if tick.error is not None:
            raise tick.error
        writes = tick.writes
        if writes or self._is_in_doubt():
            asked, began = self._clock.monotonic(), time.perf_counter()
            if alone or writes.rows <= BESIDE:
                await self._store.commit(writes)
            else:
                await self._commit_beside(tick)
            self._owned_at, self._apart = asked, False
            seconds = tick.took + time.perf_counter() - began
            self._stats.committed(writes, len(tick.batch), seconds, self._clock.now())
        self._ends(writes)  # first: a caller waits for the end, and a worker that has reported it has other runs
        self._answer(tick, await self._with_pasts(tick.granted) if tick.granted else {})
        self._publish(writes)
        if writes.rows > BESIDE:  # while it is at hand
            self._stats.count()
        if self.book.ready.hungry:
            self._moves.woken.set()

    async def _commit_beside(self, tick: Tick) -> None:
        """Commit, and make the next tick as soon as there is one that can be made without the store."""
        committing = asyncio.ensure_future(self._store.commit(tick.writes))
        committing.add_done_callback(lambda _: self._moves.came.set())
        try:
            while self._ahead is None and not committing.done():
                self._moves.came.clear()
                if not self.book.ready.wants(self._clock.now()) and (batch := self._moves.take_ahead()):
                    self._ahead = self._make_ahead(batch, tick)
                else:
                    await self._moves.came.wait()
            await committing
        finally:
            committing.cancel()

    def _drop_ahead(self) -> None:
        """What was made beside a commit that failed is to be made again."""
        self._parking.promised.clear()
        if self._ahead is not None:
            self._moves.put_back(self._ahead.batch)
            self._ahead = None

    def _is_in_doubt(self) -> bool:
        """Whether leases are renewed, and another ledger may have taken the store unnoticed since the last commit."""
        return self._shared and bool(self.book.running) and self._clock.monotonic() - self._owned_at >= OWN_SECONDS

    def _hand_out(self, tick: Tick, busy: Collection[str] = ()) -> None:
        """Let its workers, and those whose pulls are parked unless they are about to be answered, have what is free."""
        book = self.book
        self._expire()
        for owner in self._worth_a_look(book, self._clock.now()):
            book.reconsider(owner)
        if book.ready:
            parked = self._parking.listeners()
            listeners = {id: at for id, at in parked.items() if id not in busy} | tick.reporting
            tick.granted = assign(book, {id: at for id, at in listeners.items() if not self._parking.is_gone(id)})
            self._parking.promised |= tick.granted.keys()
        tick.writes = book.take_writes()

    def _worth_a_look(self, book: Book, now: float) -> Iterable[tuple[str, str]]:
        """The keys whose hold may be over: all of them where the clock was set back, for they were told by it."""
        back, self._handed_out_at = now < self._handed_out_at, now
        return [*book.later.due(now), *(book.passed if back else ())]

    def _answer(self, tick: Tick, claims: dict[str, tuple[Claim, ...]]) -> None:
        """Whoever waited. Parked pulls of those who get something by the next tick are left for it."""
        self._parking.promised = set(self._ahead.granted if self._ahead is not None else ())
        for worker in claims.keys() - tick.reporting:
            self._parking.answer(self.book, worker, claims[worker])
        for move, outcome in zip(tick.batch, tick.outcomes, strict=True):
            if move.listener:
                worker = move.listener[0].id
                orders = self._parking.orders(self.book, worker, claims.pop(worker, ()))
                outcome = Answer(tuple(outcome), orders)
            move.resolve(outcome)
        self._parking.tell(self.book, self._parking.promised)

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

    async def _recover(self, batch: list[Move], error: Exception) -> None:
        """Go on after a tick that failed, from what the store says."""
        self._drop_ahead()
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

    async def _each_alone(self, batch: list[Move]) -> None:
        """One bad row fails its own move, not its neighbours'; where the store is down, all of them do, at once."""
        await self._start_over(waiting := deque(batch))
        while waiting:
            move = waiting.popleft()
            try:
                await self._finish(await self._make([move], careful=True), alone=True)
            except Fenced:
                raise
            except Exception as error:  # noqa: BLE001 - as above; whoever asked is told, and may ask again
                self._refuse([move], error)
                await self._start_over(waiting)

    async def _start_over(self, waiting: deque[Move]) -> None:
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

    async def _reload(self, waiting: deque[Move] | None = None) -> None:
        """Read the book again from the store, for as long as it takes; where that is long, nobody waits for it."""
        while True:
            try:
                book = Book(self._store, self._clock)
                await book.load(self._away_until, apart=self._apart)
            except Fenced:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the database's driver raises, nothing works without it
                log.error("the store cannot be read, trying again: %s", error)
                refused = [*(waiting or ()), *self._moves.take_all()]
                self._refuse(refused, error)
                if waiting is not None:
                    waiting.clear()
                await asyncio.sleep(READ_PAUSE)
            else:
                self.book = book
                self._parking.promised.clear()
                return

    def _refuse(self, moves: list[Move], error: Exception) -> None:
        for move in moves:
            move.resolve(Unavailable(f"the ledger could not do it: {error}"))

    def _give_up(self, error: Fenced, batch: list[Move]) -> None:
        log.error("fenced, this ledger stays down: %s", error)
        self._fenced = error
        self._drop_ahead()
        for move in [*batch, *self._moves.take_all()]:
            move.resolve(Superseded(f"this ledger is fenced: {error}"))
        self._parking.answer_all(Orders(stop=True))
