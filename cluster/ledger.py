"""The one writer of durable facts: whatever waits goes into one transaction, and is answered after its commit."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from agents.errors import Overloaded
from agents.journal import StepId, StepRecord

from .book import Book, Clock
from .claims import Answer, Beat, Claim, Held, Hello, Orders, Report
from .client import Counts, EventPage
from .errors import Conflict, Fenced, Unavailable
from .store import Store, StoreFailed, Writes
from .task import Filter, Step, Submission, Submitted, Task
from .waiters import Waiters, within

log = logging.getLogger("rubato.ledger")

WAITING_LIMIT = 100_000  # tasks in submissions that wait for their tick; more are refused
PULL_SECONDS = 10.0  # how long a pull is parked at most
EVENT_PAGE = 1000
EXPIRY_SECONDS = 0.5  # between two looks for leases that ran out

Listener = tuple[Hello, int]  # a worker, and the call that its new claims would answer


class _Move(NamedTuple):
    """Something that waits for its tick: how it changes the book, who wants to know, and which worker reports."""

    apply: Callable[[Book], Any]
    answer: asyncio.Future[Any]
    listener: Listener | None = None


class _Parked(NamedTuple):
    """A worker's pull that waits for something to do."""

    listener: Listener
    answer: asyncio.Future[Orders]


def system_clock() -> Clock:
    """The machine's clocks."""
    return Clock(time.time, time.monotonic)


class Ledger:
    """Group commit over a Book and a Store. `run()` drives it; every other method may be called meanwhile."""

    def __init__(self, store: Store, clock: Clock | None = None, *, fresh: bool = False) -> None:
        """`fresh`: a new generation begins, so whoever held a claim is gone."""
        self._store = store
        self._clock = clock or system_clock()
        self._book = Book(store, self._clock)
        self._moves: list[_Move] = []
        self._waiting_tasks = 0
        self._woken = asyncio.Event()
        self._parked: dict[str, _Parked] = {}
        self._first_call: dict[str, int] = {}
        self._told: set[Held] = set()  # cancels that were sent to the worker; a heartbeat repeats them
        self._gone: set[str] = set()
        self._submitting: dict[tuple[str, ...], asyncio.Future[Submitted]] = {}
        self._ends: Waiters[Task] = Waiters()
        self._news: Waiters[None] = Waiters()
        self._expire_at = 0.0
        self._fenced: Fenced | None = None
        self.ticks = 0
        if fresh:
            self._book.release_all()

    # what the gateway asks

    async def submit(self, submission: Submission) -> Submitted:
        """Returns once the tasks are durable.

        A submission that is sent again, with its key or its task ids, is accepted once: while the first is in flight
        the second waits for it. Raises Conflict for a known key with another body, Overloaded.
        """
        marks: list[tuple[str, ...]] = [("id", submission.tenant, submission.tasks[0].id)]
        if submission.key:
            marks.append(("key", submission.tenant, submission.route, submission.key))
        while twin := next((self._submitting[mark] for mark in marks if mark in self._submitting), None):
            await asyncio.wait([twin])
        known = self._known(submission)
        if known is not None:
            return known
        if self._waiting_tasks + len(submission.tasks) > WAITING_LIMIT:
            raise Overloaded("too many tasks wait to be accepted", retry_after=1.0)
        accepted = self._move(lambda book: book.submit(submission))
        self._submitting.update(dict.fromkeys(marks, accepted))
        self._waiting_tasks += len(submission.tasks)

        def landed(_: object) -> None:
            self._waiting_tasks -= len(submission.tasks)
            for mark in marks:
                self._submitting.pop(mark, None)

        accepted.add_done_callback(landed)
        submitted: Submitted = await asyncio.shield(accepted)
        return submitted

    def _known(self, submission: Submission) -> Submitted | None:
        """What an equal submission created before. Raises Conflict if its body was another."""
        if submission.key:
            row = self._store.key(submission.tenant, submission.route, submission.key)
            if row is not None and row.digest != submission.digest:
                raise Conflict("this Idempotency-Key was used with another body")
            if row is not None:
                return Submitted(tuple(json.loads(row.task_ids)), row.batch_id, replayed=True)
        if self._store.task(submission.tenant, submission.tasks[0].id) is not None:
            return Submitted(tuple(task.id for task in submission.tasks), submission.batch_id, replayed=True)
        return None

    async def submit_many(self, submissions: tuple[Submission, ...]) -> list[Submitted | Exception]:
        """Each as `submit` does it, in one call; a refusal stands in the place of its submission."""
        return await asyncio.gather(*map(self.submit, submissions), return_exceptions=True)  # type: ignore[return-value]

    async def submit_and_wait(self, submission: Submission, wait: float) -> tuple[Submitted, Task | None]:
        """Accept one task and follow it for so long: one call where a caller waits for the answer."""
        tenant, id = submission.tenant, submission.tasks[0].id
        with self._ends.on((tenant, id)) as ending:
            submitted = await self.submit(submission)
            if submitted.replayed:
                return submitted, await self.task(tenant, submitted.task_ids[0], wait)
            return submitted, await within(ending, wait) or self._store.task(tenant, id)

    async def task(self, tenant: str, id: str, wait: float = 0) -> Task | None:
        """The task; with `wait`, as soon as it has ended or so many seconds are over."""
        with self._ends.on((tenant, id)) as ending:
            task = self._store.task(tenant, id)
            if task is None or task.ended or wait <= 0:
                return task
            return await within(ending, wait) or self._store.task(tenant, id)

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        """At most `limit` tasks, newest first, older than the id `after`."""
        if filter.state is not None and not self._book.any(filter.agent, filter.state):
            return []  # as often asked as it is true, and the store would look at every task to say so
        return await asyncio.to_thread(self._store.tasks, tenant, filter, after, limit)

    async def cancel(self, tenant: str, id: str) -> Task | None:
        """The task with its cancel recorded. Raises Conflict if it had ended otherwise."""
        task: Task | None = await self._move(lambda book: book.cancel(tenant, id))
        holding = self._book.running.get((tenant, id))
        if holding is not None:
            self._answer_pull(holding.worker)
        return task

    async def events(self, tenant: str, id: str, after: int, wait: float) -> EventPage | None:
        """Committed events numbered above `after`; waits up to `wait` seconds for the first."""
        ends = self._clock.monotonic() + wait
        while True:
            with self._news.on((tenant, id)) as news:
                task = self._store.task(tenant, id)
                if task is None:
                    return None
                events = self._store.events(tenant, id, after, EVENT_PAGE)
                last = events[-1].seq if events else after
                ended = task.ended and last >= task.events - 1
                left = ends - self._clock.monotonic()
                if events or ended or left <= 0:
                    return EventPage(tuple(events), ended)
                await within(news, left)

    async def steps(self, tenant: str, id: str) -> list[Step] | None:
        """The journal in the order it was recorded."""
        return None if self._store.task(tenant, id) is None else self._store.steps(tenant, id)

    async def counts(self) -> Counts:
        """Tasks by agent and state, from memory, and the ticks of this ledger."""
        tasks: dict[str, dict[str, int]] = {}
        for (agent, state), number in self._book.counts.items():
            tasks.setdefault(agent, {})[str(state)] = number
        return Counts(tasks, self.ticks)

    # what the workers and the pool ask

    async def pull(self, worker: Hello, call: int) -> Orders:
        """Waits until there is something to do for this worker; a newer pull answers an older one, empty."""
        self._refuse_fenced()
        if worker.id in self._gone:
            return Orders(stop=True)
        self._first_call.setdefault(worker.id, call)
        self._answer_pull(worker.id)
        if untold := self._untold(worker.id):
            return Orders(cancels=untold)
        parked = _Parked((worker, call), asyncio.get_running_loop().create_future())
        self._parked[worker.id] = parked
        self._woken.set()
        orders = await within(parked.answer, PULL_SECONDS)
        if self._parked.get(worker.id) is parked:
            del self._parked[worker.id]
        return orders or Orders()

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        """Returns once the reports are durable; may carry new claims."""
        self._first_call.setdefault(worker.id, call)

        def apply(book: Book) -> list[Held]:
            refused = [report for report in reports if not book.report(worker.id, report)]
            return [(report.tenant, report.task_id, report.fence) for report in refused]

        answer: Answer = await self._move(apply, (worker, call))
        return answer

    async def beat(self, worker: str, latest: int, open: tuple[int, ...], held: tuple[Held, ...]) -> Beat:
        """Renews the leases of the claims held, and takes back those that never arrived."""
        self._refuse_fenced()
        first = self._first_call.get(worker)

        def arrived(call: int | None) -> bool:
            if call is not None:
                return call <= latest and call not in open
            # Handed over before this ledger's start: its answer came, or was lost, once all calls of then have ended.
            return first is not None and latest >= first and all(other >= first for other in open)

        lost, missing = self._book.beat(worker, held, arrived)
        if missing:
            self._move(lambda book: book.release(missing)).add_done_callback(_look_at)
        return Beat(tuple(lost), tuple(self._book.cancels(worker)))

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        """A worker's process has ended: its claims are free once this returns, and it is not let in again."""
        self._gone.add(worker)
        self._first_call.pop(worker, None)
        self._answer_pull(worker, stop=True)
        await self._move(lambda book: book.worker_lost(worker, fault=fault))

    async def holders(self) -> list[str]:
        """The workers that hold claims."""
        return list({holding.worker for holding in self._book.running.values()})

    # the tick

    async def run(self) -> None:
        """Tick after tick, until cancelled or fenced; a store that fails is tried again, for ever."""
        while self._fenced is None:
            await self._wait_for_work()
            self._book.ready.ring(self._clock.now())
            batch, self._moves = self._moves, []
            try:
                await self._tick(batch)
            except Fenced as error:
                self._give_up(error, batch)
            except Exception as error:  # the store's trouble, or a fault of ours: neither may end the loop
                level = logging.WARNING if isinstance(error, StoreFailed) else logging.ERROR
                log.log(level, "a tick of %d moves failed, each is tried alone", len(batch), exc_info=error)
                await self._each_alone(batch)

    async def _wait_for_work(self) -> None:
        alarm = asyncio.get_running_loop().call_later(self._next_alarm(), self._woken.set)
        await self._woken.wait()
        alarm.cancel()
        self._woken.clear()

    def _next_alarm(self) -> float:
        """Seconds until something may be due without anyone asking."""
        due = self._book.ready.next_alarm()
        return EXPIRY_SECONDS if due is None else max(0.005, min(EXPIRY_SECONDS, due - self._clock.now()))

    async def _tick(self, batch: list[_Move]) -> None:
        """Apply what waits, hand out what is free, commit both, and only then answer."""
        book = self._book
        outcomes = [_outcome(move, book) for move in batch]
        self._expire()
        reporting = {move.listener[0].id: move.listener for move in batch if move.listener}
        parked = {id: parked.listener for id, parked in self._parked.items()}
        granted = book.assign({id: at for id, at in (parked | reporting).items() if id not in self._gone})
        writes = book.take_writes()
        if writes:
            await self._store.commit(writes)
            self.ticks += 1
        claims = {worker: tuple(map(self._with_journal, found)) for worker, found in granted.items()}
        for worker in claims.keys() - reporting.keys():
            self._answer_pull(worker, claims[worker])
        for move, outcome in zip(batch, outcomes, strict=True):
            if move.listener:
                worker = move.listener[0].id
                outcome = Answer(tuple(outcome), Orders(claims.pop(worker, ()), self._untold(worker)))
            _resolve(move, outcome)
        self._publish(writes)

    def _expire(self) -> None:
        if self._clock.monotonic() >= self._expire_at:
            self._expire_at = self._clock.monotonic() + EXPIRY_SECONDS
            for claim in self._book.expire():
                log.warning("the lease of %s ran out", claim)

    async def _each_alone(self, batch: list[_Move]) -> None:
        """One bad row fails its own move, not its neighbours'; where the store is down, all of them."""
        await self._reload()
        for move in batch:
            try:
                await self._tick([move])
            except Fenced as error:
                self._give_up(error, batch)
                return
            except Exception as error:  # noqa: BLE001 - as above; whoever asked is told, and may ask again
                await self._reload()
                _resolve(move, Unavailable(f"the ledger could not do it: {error}"))

    async def _reload(self) -> None:
        """Read the book again from the store, for as long as it takes."""
        while True:
            try:
                self._book = Book(self._store, self._clock)
                return
            except Exception as error:  # noqa: BLE001 - whatever the database's driver raises, nothing works without it
                log.error("the store cannot be read, trying again: %s", error)
                await asyncio.sleep(1.0)

    def _give_up(self, error: Fenced, batch: list[_Move]) -> None:
        log.error("fenced, this ledger stays down: %s", error)
        self._fenced = error
        for move in [*batch, *self._moves]:
            _resolve(move, Unavailable(f"this ledger is fenced: {error}"))
        for worker in list(self._parked):
            self._answer_pull(worker, stop=True)

    def _with_journal(self, claim: Claim) -> Claim:
        """A claim of a task that ran before carries what was recorded then."""
        task = claim.task
        if task.fence == 1:
            return claim
        steps = self._store.steps(task.tenant, task.id)
        journal = tuple(StepRecord(StepId(step.name, step.key), step.digest, step.value) for step in steps)
        return claim._replace(journal=journal, emitted=self._store.emitted(task.tenant, task.id))

    def _publish(self, writes: Writes) -> None:
        """Tell whoever waits for a task's end or its events."""
        if self._ends:
            for task in writes.pending():
                if task.ended:
                    self._ends.tell((task.tenant, task.id), task)
        if self._news:
            for ref in {*writes.new, *writes.moved}:
                self._news.tell(ref, None)
            for ref in {(row.tenant, row.task) for rows in (writes.steps, writes.events) for row in rows}:
                self._news.tell(ref, None)

    # parts

    def _move(self, apply: Callable[[Book], Any], listener: Listener | None = None) -> asyncio.Future[Any]:
        self._refuse_fenced()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._moves.append(_Move(apply, answer, listener))
        self._woken.set()
        return answer

    def _refuse_fenced(self) -> None:
        if self._fenced is not None:
            raise Unavailable(f"this ledger is fenced: {self._fenced}")

    def _untold(self, worker: str) -> tuple[Held, ...]:
        """The cancels this worker was not told of yet; it is told now."""
        cancels = self._book.cancels(worker)
        untold = tuple(claim for claim in cancels if claim not in self._told)
        if untold:
            self._told = {claim for claim in self._told if claim[:2] in self._book.running} | set(untold)
        return untold

    def _answer_pull(self, worker: str, claims: tuple[Claim, ...] = (), *, stop: bool = False) -> None:
        parked = self._parked.pop(worker, None)
        if parked is not None and not parked.answer.done():
            parked.answer.set_result(Orders(claims, self._untold(worker), stop))


def _outcome(move: _Move, book: Book) -> Any:
    """What the move answers, or the refusal it raises; a refused move has changed nothing."""
    try:
        return move.apply(book)
    except Conflict as error:
        return error


def _resolve(move: _Move, outcome: Any) -> None:
    if move.answer.done():
        return
    if isinstance(outcome, Exception):
        move.answer.set_exception(outcome)
    else:
        move.answer.set_result(outcome)


def _look_at(done: asyncio.Future[Any]) -> None:
    """Nobody waits for this one: what it raised is known, and the next heartbeat asks again."""
    if not done.cancelled():
        done.exception()
