"""A ledger in memory that keeps the protocol between ledger and workers to the letter, and fails when told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.events import Emitted
from agents.journal import StepRecord
from cluster.claims import (
    Answer,
    Beat,
    Called,
    Claim,
    Ending,
    Entry,
    Held,
    Hello,
    Orders,
    Picture,
    Report,
    StepDone,
    Verdict,
)
from cluster.errors import Unavailable
from cluster.sessions import Memory, Session, SessionRef, succeed
from cluster.task import Task

from .making import task

BEFORE, AFTER = "before", "after"  # a call fails before, or after, it was applied


@dataclass
class Row:
    """One task, and everything that reports ever changed about it."""

    task: Task
    queued: bool = True
    call: int = 0
    applied: int = 0  # the last report of this claim
    closed: Held | None = None  # the claim whose verdict ended it
    cancel: bool = False
    journal: list[StepRecord] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def held(self) -> Held:
        return self.task.tenant, self.task.id, self.task.fence

    @property
    def steps(self) -> list[str]:
        """The steps that were recorded, in order, and twice if they were recorded twice."""
        return [str(record.id) for record in self.journal]

    @property
    def said(self) -> list[str]:
        """Steps and events in the order they were applied."""
        return [
            str(entry.record.id) if isinstance(entry, StepDone) else entry.data
            for entry in self.entries
            if not isinstance(entry, Called)
        ]


class MemoryLink:
    """`fault` says of each call whether it fails, `lag` is awaited before and after each is applied."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.fault: Callable[[str], str] = lambda method: ""
        self.lag: Callable[[], Any] = lambda: asyncio.sleep(0)
        self.calls: Counter[str] = Counter()
        self.latest: Counter[str] = Counter()
        self.reports: list[Report] = []  # as they came, repeated ones included
        self.hellos: list[Hello] = []  # of the pulls
        self.outstanding = 0  # pulls without an answer
        self.stopping = False
        self.sessions: dict[SessionRef, Session] = {}
        self._told: set[Held] = set()  # cancels; a heartbeat repeats them
        self._parked: dict[str, tuple[Hello, int, asyncio.Future[Orders]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # what a test does

    def submit(self, input: str = "{}", **changes: Any) -> Row:
        row = Row(task(input=input, agent="scripted", **changes))
        self.rows[row.task.id] = row
        self._wake()
        return row

    def cancel(self, row: Row) -> None:
        row.cancel = True
        self._wake()

    def steal(self, row: Row) -> None:
        """The claim goes to another worker, who does not report."""
        row.task = row.task._replace(fence=row.task.fence + 1, worker="another")
        row.applied = 0

    def disown(self) -> None:
        """Know none of the workers any more."""
        self.stopping = True
        self._wake()

    def take_back(self, row: Row, *, counted: bool = False) -> None:
        """The claim ends, and the task waits for its next."""
        row.task = row.task._replace(worker=None, attempts=row.task.attempts - (not counted))
        row.queued = True
        self._wake()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns as soon as it holds."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.0005)

    async def ended(self, *rows: Row) -> None:
        await self.until(lambda: all(self._is_over(row) for row in rows))

    # what a worker does

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        found = self.sessions.get((tenant, agent, session))
        return Memory() if found is None else found.memory

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        new = Session(tenant, agent, session, version, value, writer, 0.0)
        self.sessions[new.ref] = written = succeed(self.sessions.get(new.ref), new)
        return written.memory

    async def pull(self, worker: Hello, call: int) -> Orders:
        self.outstanding += 1
        try:
            return await self._pull(worker, call)
        finally:
            self.outstanding -= 1

    async def _pull(self, worker: Hello, call: int) -> Orders:
        self.hellos.append(worker)
        fails = await self._reach("pull", worker, call)
        if worker.id in self._parked:
            self._parked.pop(worker.id)[2].set_result(Orders())
        orders = self._orders(worker, call)
        if not (orders.claims or orders.cancels or orders.stop):
            future: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
            self._parked[worker.id] = worker, call, future
            orders = await future
        await self._leave(fails)
        return orders

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        fails = await self._reach("report", worker, call)
        self.reports += reports
        lost = tuple(self._held(report) for report in reports if not self._apply(worker.id, report))
        answer = Answer(lost, self._orders(worker, call))
        await self._leave(fails)
        return answer

    def beat(self, worker: str, seen: Picture) -> Beat:
        fault = self._fault("beat")
        if fault == BEFORE:
            raise Unavailable("told to")
        mine = [row for row in self.rows.values() if row.task.worker == worker]
        newest = {row.held for row in mine}
        for row in mine:
            if row.held not in seen.held and row.call <= seen.latest and row.call not in seen.open:
                self.take_back(row)
        if fault == AFTER:
            raise Unavailable("told to")
        cancels = tuple(row.held for row in mine if row.cancel and row.held in seen.held)
        return Beat(tuple(claim for claim in seen.held if claim not in newest), cancels)

    # parts

    def _fault(self, method: str) -> str:
        self.calls[method] += 1
        return self.fault(method)

    async def _reach(self, method: str, worker: Hello, call: int) -> bool:
        """The way here. Says whether the way back fails."""
        assert call > self.latest[worker.id], "calls are numbered upwards, over both methods"
        self.latest[worker.id] = call
        self._loop = asyncio.get_running_loop()
        fault = self._fault(method)
        await self.lag()
        if fault == BEFORE:
            raise Unavailable("told to")
        return fault == AFTER

    async def _leave(self, fails: bool) -> None:
        await self.lag()
        if fails:
            raise Unavailable("told to")

    def _orders(self, worker: Hello, call: int) -> Orders:
        if self.stopping:
            return Orders(stop=True)
        mine = [row for row in self.rows.values() if row.task.worker == worker.id]
        free = worker.slots.get("scripted", 0) - len(mine)
        queued = [row for row in self.rows.values() if row.queued]
        claims = tuple(self._claim(row, worker.id, call) for row in queued[: max(0, free)])
        mine = [row for row in self.rows.values() if row.task.worker == worker.id]
        untold = tuple(row.held for row in mine if row.cancel and row.held not in self._told)
        self._told.update(untold)
        return Orders(claims, untold)

    def _claim(self, row: Row, worker: str, call: int) -> Claim:
        row.queued = False
        row.call = call
        row.applied = 0
        row.task = row.task._replace(worker=worker, fence=row.task.fence + 1, attempts=row.task.attempts + 1)
        outside = sum(1 for entry in row.entries if isinstance(entry, Emitted) and not entry.step)
        return Claim(row.task, journal=tuple(row.journal), emitted=outside)

    def _apply(self, worker: str, report: Report) -> bool:
        row = self.rows[report.task_id]
        held = self._held(report)
        if held == row.closed:
            return True
        if held != row.held or row.task.worker != worker:
            return False
        if report.number <= row.applied:
            return True
        assert report.number == row.applied + 1, "reports of a claim are numbered without a gap"
        assert report.entries or report.verdict, "an empty report says nothing"
        row.applied = report.number
        for entry in report.entries:
            row.entries.append(entry)
            if isinstance(entry, StepDone):
                row.journal.append(entry.record)
        if report.verdict is not None:
            self._settle(row, report.verdict)
        return True

    def _settle(self, row: Row, verdict: Verdict) -> None:
        row.verdicts.append(verdict)
        row.closed = row.held
        if verdict.ending in (Ending.RELEASED, Ending.RETRY) and not row.cancel:
            self.take_back(row, counted=verdict.ending == Ending.RETRY)
        else:
            row.task = row.task._replace(worker=None)

    def _is_over(self, row: Row) -> bool:
        return bool(row.verdicts) and not row.queued and row.task.worker is None

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._serve_parked)

    def _serve_parked(self) -> None:
        for id, (worker, call, future) in list(self._parked.items()):
            orders = self._orders(worker, call)
            if future.done():
                del self._parked[id]
            elif orders.claims or orders.cancels or orders.stop:
                del self._parked[id]
                future.set_result(orders)

    @staticmethod
    def _held(report: Report) -> Held:
        return report.tenant, report.task_id, report.fence
