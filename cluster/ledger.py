"""The one writer of durable facts, as callers and workers see it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from . import promoting, reporting, steering
from .asking import accepted, all_retried, all_steered, forked, retried, steered
from .book import Book, Clock
from .chores import Chores
from .claims import Answer, Beat, Called, Held, Hello, Orders, Picture, Promotion, Report
from .client import Batch, Counts, Demand, EventPage, Limit, Why
from .demand import demand
from .keyring import KeyKeeping
from .limits import Rule, agent_key
from .measuring import Measuring
from .moves import Apply, Needs
from .parking import Parking
from .reads import reads_of
from .reasons import reason
from .releasing import Releasing
from .remembering import Remembering
from .stats import Figures, Measures, Stats
from .store import Store, Writes
from .sweeper import Sweeper
from .task import AGENT_KEY, Filter, Once, Ref, State, Step, Submission, Submitted, Task
from .terms import Terms
from .ticks import Ticks
from .timetable import Scheduling, Timetable
from .waiters import Waiters, within

EVENT_PAGE = 1000
AHEAD = 10_000  # tasks that are counted to tell a place in the queue
TELL_SECONDS = 1.0  # that a heartbeat waits for what it is to tell: less than a worker waits for its answer
BULK = 1000  # tasks that one tick cancels or retries

Found = TypeVar("Found")
Many = Callable[[list[Ref]], tuple[Apply, Needs]]  # a move of many tasks, which brings how many it moved


def system_clock() -> Clock:
    """The machine's clocks."""
    return Clock(time.time, time.monotonic)


class Ledger(Scheduling, KeyKeeping, Remembering, Releasing):
    """Group commit over a store that is open. `run()` drives it; every other method may be called meanwhile."""

    def __init__(
        self, store: Store, clock: Clock | None = None, *, fresh: bool = False, terms: Terms | None = None
    ) -> None:
        """`fresh`: a new generation begins, so whoever held a claim is gone, or of another cluster."""
        terms = terms or Terms()
        self._store = store
        self._reads = reads_of(store)
        self._clock = clock or system_clock()
        self._fresh = fresh
        self._stats = Stats()
        self._parking = Parking()
        told = self._tell_ends, self._publish
        self._ticks = Ticks(store, self._clock, self._parking, self._stats, *told, shared=terms.shared)
        self._measuring = Measuring(store, self._clock, self._stats)
        self._chores = Chores(self._ticks, store, self._clock)
        self._timetable = Timetable(self._ticks, self._reads, self._clock, terms.policies)
        self._sweeper = Sweeper(self._ticks, store, self._clock, terms)
        self._ends: Waiters[Task] = Waiters()
        self._news: Waiters[None] = Waiters()

    @property
    def book(self) -> Book:
        """The working state, for those who look into it."""
        return self._ticks.book

    @property
    def ticks(self) -> int:
        """How many were committed."""
        return self._stats.ticks

    async def run(self) -> None:
        """Load, then tick after tick, until stopped, cancelled or fenced. A store that fails is tried again."""
        await self._ticks.load(fresh=self._fresh)
        beside = [asyncio.create_task(each.run()) for each in (self._chores, self._timetable, self._sweeper)]
        try:
            await self._ticks.run()
        finally:
            for each in beside:
                each.cancel()
            await asyncio.wait(beside)

    def stop(self) -> None:
        """Have `run` end after the tick under way. Whoever waits then gets no answer: another ledger gives it."""
        self._ticks.stop()

    # what callers ask

    async def submit(self, submission: Submission) -> Submitted:
        """Returns once the tasks are durable.

        A submission that is sent again, with its key or its task ids, is accepted once: while the first is in flight
        the second waits for it. Raises Conflict for a known key with another body, Expired, Overloaded.
        """
        apply, needs, ahead = accepted(submission)
        characters = sum(len(task.input) for task in submission.tasks)
        submitted: Submitted = await self._ticks.ask(
            apply, needs, rows=len(submission.tasks), characters=characters, ahead=ahead
        )
        return submitted

    async def submit_and_wait(self, submission: Submission, wait: float) -> tuple[Submitted, Task | None]:
        """Accept one task and follow it for so long: one call where a caller waits for the answer."""
        tenant, id = submission.tenant, submission.tasks[0].id
        with self._ends.on((tenant, id)) as ending:
            submitted = await self.submit(submission)
            if submitted.replayed:
                return submitted, await self.task(tenant, submitted.task_ids[0], wait)
            return submitted, await within(ending, wait) or await self._reads.task(tenant, id)

    async def task(self, tenant: str, id: str, wait: float = 0) -> Task | None:
        """The task; with `wait`, as soon as it has ended or so many seconds are over."""
        with self._ends.on((tenant, id)) as ending:
            task = await self._reads.task(tenant, id)
            if task is None or task.ended or wait <= 0:
                return task
            return await within(ending, wait) or await self._reads.task(tenant, id)

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        """At most `limit` tasks, newest first, older than the id `after`."""
        state = filter.state
        if state is not None and not await self._look(lambda book: book.any(filter.agent, state)):
            return []  # as often asked as it is true, and the store would look at every task to say so
        return await self._reads.tasks(tenant, filter, after, limit)

    async def events(self, tenant: str, id: str, after: int, wait: float) -> EventPage | None:
        """Committed events numbered above `after`; waits up to `wait` seconds for the first."""
        ends = self._clock.monotonic() + wait
        while True:
            with self._news.on((tenant, id)) as news:
                task, events = await self._reads.events(tenant, id, after, EVENT_PAGE)
                if task is None:
                    return None
                last = events[-1].seq if events else after
                ended = task.ended and last >= task.events - 1
                left = ends - self._clock.monotonic()
                if events or ended or left <= 0:
                    return EventPage(tuple(events), ended)
                await within(news, left)

    async def steps(self, tenant: str, id: str, after: int = -1) -> list[Step] | None:
        """A page of the journal in the order it was recorded, of steps numbered above `after`."""
        return None if await self._reads.task(tenant, id) is None else await self._reads.steps(tenant, id, after)

    async def counts(self) -> Counts:
        """Tasks by agent and state, from memory, and the ticks of this ledger."""
        return Counts(await self._look(_counted), self._stats.ticks)

    async def figures(self) -> Figures:
        """What was counted since this ledger started."""
        return self._stats.figures()

    async def oldest(self) -> dict[str, float]:
        """Since when the first of each agent's queued tasks that are due could have started."""
        return await self._reads.oldest(self._clock.now())

    async def measures(self) -> Measures:
        """All that can be measured of it, for little: who asks often gets ages of the backlog that are seconds old.
        It is answered while the store is away, and what a tick under way does is counted already."""
        book = self._read_book()
        return await self._measuring.measures(book, _counted(book))

    async def demand(self) -> tuple[Demand, ...]:
        """What each line of tasks asks of its workers; for little, and while the store is away too, as `measures`."""
        return demand(self._read_book(), self._stats, self._clock.now())

    async def why(self, tenant: str, id: str) -> Why | None:
        """What keeps a queued task from running; None if there is no such task, or it is not queued."""
        task = await self._reads.task(tenant, id)
        if task is None or task.state != State.QUEUED:
            return None
        now = self._clock.now()
        place = 1 + await self._reads.ahead(task, now, AHEAD)
        asked, rate = self._parking.last_asked(task.line), self._stats.rate(task.agent, task.lane, now)
        return await self._look(lambda book: reason(book, task, place, now, asked=asked, rate=rate))

    # what callers change

    async def cancel(self, tenant: str, id: str) -> Task | None:
        """The task with its cancel recorded. Raises Conflict if it had ended otherwise."""
        task: Task | None = await self._ticks.move(*steered((tenant, id), steering.cancel))
        return task

    async def retry(self, tenant: str, id: str, once: Once | None = None) -> Task | None:
        """The task, queued again with all its attempts. Raises Conflict if it did not fail."""
        task: Task | None = await self._ticks.ask(*retried((tenant, id), once))
        return task

    async def cancel_all(self, tenant: str, filter: Filter) -> int:
        """Cancel the tasks that match and have not ended; how many."""
        return await self._all(tenant, filter._replace(ended=False), lambda refs: all_steered(refs, steering.cancel))

    async def retry_all(self, tenant: str, filter: Filter) -> int:
        """Retry the tasks that match and have failed, or that were canceled where the filter says so; how many."""
        return await self._all(tenant, filter._replace(state=filter.state or State.FAILED.value), all_retried)

    async def fork(
        self,
        tenant: str,
        id: str,
        from_step: str,
        *,
        new_id: str,
        input: str | None,
        version: str,
        once: Once | None = None,
    ) -> Task | None:
        """A new task with what the task had recorded before that step. Raises Conflict for a step it has not."""

        def fork(book: Book, source: Task, steps: Sequence[Step], started: tuple[str, ...]) -> Task:
            return steering.fork(book, source, steps, started, from_step, id=new_id, input=input, version=version)

        task: Task | None = await self._ticks.ask(
            *forked((tenant, id), new_id, fork, once), characters=len(input or "")
        )
        return task

    async def signal(self, tenant: str, id: str, name: str, payload: str, once: Once | None = None) -> Task | None:
        """The task, with the signal kept for it. Raises Conflict where it has ended."""

        def signal(book: Book, ref: Ref, stored: Task | None) -> Task | None:
            return steering.signal(book, ref, stored, name, payload)

        task: Task | None = await self._ticks.ask(*steered((tenant, id), signal, once), characters=len(payload))
        return task

    async def limit(self, tenant: str, key: str) -> Limit:
        """The limits of a key, which limit nothing where none were set."""
        return await self._look(lambda book: book.limit((tenant, key)))

    async def limits(self, tenant: str, after: str, limit: int, *, agents: bool = True) -> list[Limit]:
        """At most `limit` of a tenant's keys that have limits, in the order of the keys above `after`; without `agents`
        none of those for all tasks of an agent."""

        def look(book: Book) -> list[Limit]:
            rules = (rule for rule in book.rules.values() if agents or not rule.key.startswith(AGENT_KEY))
            keys = (rule.key for rule in rules if rule.tenant == tenant and rule.key > after and not rule.idle)
            return [book.limit((tenant, key)) for key in heapq.nsmallest(limit, keys)]

        return await self._look(look)

    async def set_rule(self, rule: Rule) -> Limit:
        """The limits of a key, from now on."""

        def apply(book: Book, _: None) -> Limit:
            steering.set_rule(book, rule)
            return book.limit((rule.tenant, rule.key))

        limit: Limit = await self._ticks.move(apply)
        return limit

    async def pause(self, agent: str, until: float | None) -> None:
        """Start no more tasks of the agent until that moment (None: from now on again)."""
        tenant, key = agent_key(agent)

        def apply(book: Book, _: None) -> None:
            rule = book.rules.get((tenant, key)) or Rule(tenant, key)
            steering.set_rule(book, rule._replace(paused_until=until))

        await self._ticks.move(apply)

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        """How many tasks of a batch are in each state; None if there is no such batch."""
        states = await self._reads.batch(tenant, batch_id)
        return Batch(batch_id, states) if states else None

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        """At most `limit` tasks of a batch in the order of its inputs, ids above `after`."""
        return await self._reads.in_batch(tenant, batch_id, after, limit)

    # what the workers and the pool ask

    async def pull(self, worker: Hello, call: int) -> Orders:
        """Waits until there is something to do for this worker; a newer pull answers an older one, empty."""
        self._ticks.refuse_fenced()
        if self._parking.is_gone(worker.id):
            return Orders(stop=True)
        if self.book.has_for(worker):
            self._ticks.look()  # it tells what there is: what this book says now may not be durable
        return await self._parking.park(worker, call, self._clock.now())

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        """Returns once the reports are durable; may carry new claims."""
        called = [(report.tenant, entry.id) for report in reports for entry in report.entries if type(entry) is Called]

        def apply(book: Book, known: dict[Ref, Task] | None) -> list[Held]:
            refused = [report for report in reports if not reporting.report(book, worker.id, report, known or {})]
            return [(report.tenant, report.task_id, report.fence) for report in refused]

        needs = (lambda store, _: store.many(called)) if called else None
        answer: Answer = await self._ticks.move(apply, needs, (worker, call), ahead=not called)
        return answer

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        """The task that goes on with a live run, claimed by its worker, once it is durable; or as it was before."""
        task: Task = await self._ticks.move(
            lambda book, found: promoting.promote(book, worker, call, promotion, found),
            lambda store, _: promoting.known(store, promotion),
            rows=1 + len(promotion.entries),
        )
        return task

    async def beat(self, worker: str, seen: Picture) -> Beat:
        """Renews the leases of the claims held, and takes back those that never arrived.

        What there is to tell is told when it is durable: a worker throws away what it has of a claim that is lost.
        Where that takes long its other claims are renewed meanwhile; none, where another ledger may have the store.
        """
        beat, missing = reporting.beat(self._read_book(), worker, seen)
        if not self._ticks.owns:
            return Beat((), unsure=seen.held, book=beat.book)
        if not (beat.lost or beat.cancels or missing):  # so it is whatever becomes of a tick under way
            return beat

        def tell(book: Book, _: None) -> Beat:
            beat, missing = reporting.beat(book, worker, seen)
            reporting.release(book, missing)
            return beat

        told = self._ticks.move(tell)
        await asyncio.wait([told], timeout=TELL_SECONDS)
        if told.done() and told.exception() is None:
            answer: Beat = told.result()
            return answer
        self._ticks.refuse_fenced()
        told.add_done_callback(asyncio.Future.exception)  # it is heard; a later heartbeat asks anew
        return Beat((), unsure=beat.lost, book=beat.book)

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        """A worker's process has ended: its claims are free once this returns, and it is not let in again."""
        self._parking.bury(worker)
        await self._ticks.move(lambda book, _: reporting.worker_lost(book, worker, fault=fault))

    async def holders(self) -> dict[str, int]:
        """The workers that hold claims, and how many."""
        return await self._look(lambda book: {worker: len(held) for worker, held in book.by_worker.items() if held})

    # parts

    def _read_book(self) -> Book:
        """The book, with what the tick under way makes of it. Raises Unavailable before it was read."""
        self._ticks.refuse_unread()
        return self.book

    async def _look(self, look: Callable[[Book], Found]) -> Found:
        """What the book says, when all that it says is durable. Raises Unavailable."""
        self._ticks.refuse_unread()
        found: Found = await self._ticks.move(lambda book, _: look(book))
        return found

    async def _all(self, tenant: str, filter: Filter, move: Many) -> int:
        """Move all tasks of a filter, so many a tick: one walk by their ids, so that none is passed over, or met twice,
        whose state changes meanwhile."""
        matched, after = 0, None
        while page := await self._reads.tasks(tenant, filter, after, BULK):
            after = page[-1].id
            matched += await self._ticks.move(*move([task.ref for task in page]), rows=len(page))
        return matched

    def _tell_ends(self, writes: Writes) -> None:
        if self._ends:
            for task in writes.ended:
                self._ends.tell((task.tenant, task.id), task)

    def _publish(self, writes: Writes) -> None:
        """Tell the ledger's own parts, and whoever waits for a task's events."""
        self._chores.noted(writes)
        self._timetable.noted(writes)
        if self._news:
            for ref in {*writes.new, *writes.moved}:
                self._news.tell(ref, None)
            for ref in {(row.tenant, row.task) for rows in (writes.steps, writes.events) for row in rows}:
                self._news.tell(ref, None)


def _counted(book: Book) -> dict[str, dict[str, int]]:
    """Tasks by agent and state."""
    tasks: dict[str, dict[str, int]] = {}
    for (agent, state), number in book.counts.items():
        tasks.setdefault(agent, {})[str(state)] = number
    return tasks
