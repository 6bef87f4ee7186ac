"""The way from the runs of a worker up to the ledger: one call at a time, and what waits goes with the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .bundles import Reports
from .calls import Calls
from .claims import Called, Entry, Held, Hello, Orders, Report, StepDone, Verdict, WorkerLink
from .errors import Unavailable
from .pace import Pace

ROOM = 1000  # what a claim may have waiting before its emits wait too
CALL = 2000  # what one call carries

Done = asyncio.Future[None]


def weight(entry: Entry) -> int:
    """What an entry counts against ROOM and CALL: one, and one more for each 16 KiB."""
    match entry:
        case StepDone():
            text = entry.record.value
        case Called():
            text = entry.input
        case _:
            text = entry.data
    return 1 + (len(text) >> 14)


class Sent(NamedTuple):
    """One report on its way, and who waits for its entries to be durable."""

    line: Line
    report: Report
    waiting: list[Done]


class Line:
    """One claim's news in the order it happened: entries, and at last a verdict. After that, or once the claim is
    lost, it takes nothing more.

    A `lazy` line sends nothing before the verdict, unless it is asked to or more than ROOM has gathered.
    """

    __slots__ = ("_changed", "_number", "_queue", "_room", "_verdict", "_weight", "held", "lazy", "lost", "shut")

    def __init__(self, held: Held, changed: Callable[[Line], None], number: int = 0) -> None:
        """`number`: how many reports of this claim there were before."""
        self.held = held
        self.shut = False
        self.lost = False
        self.lazy = False
        self._changed = changed
        self._number = number
        self._queue: deque[tuple[Entry, Done | None]] = deque()
        self._weight = 0
        self._verdict: Verdict | None = None
        self._room: asyncio.Event | None = None

    def record(self, entry: Entry) -> Done:
        """Queue and send an entry; the future is done once it is durable, and never if the line was shut before."""
        done: Done = asyncio.get_running_loop().create_future()
        self._put(entry, done)
        return done

    def note(self, entry: Entry) -> None:
        """Queue an entry."""
        self._put(entry, None)

    async def emit(self, entry: Entry) -> None:
        """Queue an entry, then wait while too much of this claim is unsent; for ever once the line is shut, or a run
        that nobody hears any more could emit in a circle and never let go of the loop."""
        self._put(entry, None)
        while self.shut or self._weight > ROOM:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def flush(self) -> None:
        """Send what was queued, however lazy the line is."""
        if self._queue:
            self._changed(self)

    def settle(self, verdict: Verdict) -> bool:
        """Queue the end. The first verdict stands; False if this is a later one, or the claim is lost."""
        if self.shut:
            return False
        self._verdict = verdict
        self.shut = True
        self._changed(self)
        self._make_room()
        return True

    def lose(self) -> None:
        """Forget what was not sent: the ledger would refuse it."""
        self.lost = self.shut = True
        self._queue.clear()
        self._verdict = None
        self._make_room()

    def take(self, room: int) -> tuple[Sent, int]:
        """The next report, of no more than `room` unless a single entry is larger, and what it weighs."""
        entries, waiting, taken = [], [], 0
        while self._queue and taken < room:
            entry, done = self._queue.popleft()
            entries.append(entry)
            taken += weight(entry)
            if done is not None:
                waiting.append(done)
        self._weight -= taken
        if self._weight <= ROOM:
            self._make_room()
        verdict = None
        if not self._queue:
            verdict, self._verdict = self._verdict, None
        self._number += 1
        weighs = taken + 1 + (len(verdict.output or "") >> 14 if verdict else 0)
        return Sent(self, Report(*self.held, self._number, tuple(entries), verdict), waiting), weighs

    @property
    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._queue) or self._verdict is not None

    def _put(self, entry: Entry, done: Done | None) -> None:
        if self.shut:
            return
        self._queue.append((entry, done))
        self._weight += weight(entry)
        if not self.lazy or done is not None or self._weight > ROOM:
            self._changed(self)

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


class Desk(Protocol):
    """The worker, as its reporter sees it."""

    @property
    def hello(self) -> Hello: ...

    def obey(self, call: int, orders: Orders) -> None:
        """The call was answered, with these orders."""

    def settled(self, held: list[Held]) -> None:
        """The verdicts of these claims are durable."""

    def lose(self, held: Held) -> None:
        """This claim is not ours any more."""


class Reporter:
    """Sends what the lines hold. A call that fails is made again with the same reports under the same numbers, so
    that the ledger can tell; what came since waits for the next."""

    def __init__(self, link: WorkerLink, calls: Calls, desk: Desk, pace: Pace) -> None:
        self._link = link
        self._calls = calls
        self._desk = desk
        self._pace = pace
        self._waiting: dict[Line, None] = {}  # in the order they began to wait
        self._woken = asyncio.Event()

    def open(self, held: Held, number: int = 0) -> Line:
        """The line of a claim that has just arrived, and of which there were so many reports before."""
        return Line(held, self._changed, number)

    async def run(self) -> None:
        """Call after call, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while batch := self._collect():
                await self._deliver(batch)
                # Claims that the answer brought begin in the next turn of the loop, and the quick ones end in it: what
                # they report travels with what waits, in one call where it would be two.
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    def _changed(self, line: Line) -> None:
        self._waiting[line] = None
        self._woken.set()

    def _collect(self) -> list[Sent]:
        """One report of each line that waits, up to what a call carries; the others come first next time."""
        room, batch, left = CALL, [], []
        for line in self._waiting:
            if room <= 0:
                break
            if line.waits:
                sent, taken = line.take(room)
                batch.append(sent)
                room -= taken
            left.append(line)
        for line in left:
            del self._waiting[line]
            if line.waits:
                self._waiting[line] = None
        return batch

    async def _deliver(self, batch: list[Sent]) -> None:
        pauses = self._pace.pauses()
        while batch := [sent for sent in batch if not sent.line.lost]:
            call = self._calls.begin()
            try:
                answer = await self._link.report(self._desk.hello, call, Reports(sent.report for sent in batch))
            except Unavailable:
                self._calls.end(call)
                await asyncio.sleep(next(pauses))
            else:
                self._take_note(batch, frozenset(answer.lost))
                self._desk.obey(call, answer.orders)
                return

    def _take_note(self, batch: list[Sent], lost: frozenset[Held]) -> None:
        settled = []
        for line, report, waiting in batch:
            if line.lost:
                continue  # a heartbeat knew it first
            if line.held in lost:
                self._desk.lose(line.held)
                continue
            for done in waiting:
                if not done.done():
                    done.set_result(None)
            if report.verdict is not None:
                settled.append(line.held)
        self._desk.settled(settled)
