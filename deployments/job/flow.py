"""One job, from its first line to its last record: fed as there is room, recorded as results come or in their order."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from .book import Book, Start
from .chunks import Bad, Chunk
from .errors import Away, JobStopped, Refusal
from .gateway import Counts, words
from .journal import Batch, Header
from .progress import Listener, Progress
from .records import Record, refused, result
from .sending import Sender
from .window import Window

PAUSES = (0.1, 5.0)  # seconds between two looks at a batch, and a tenth of its age between them
TELL = 1.0  # seconds between two words about how far it is
LAST_SEND = 10.0  # seconds that a batch on its way is waited for when the job is to end

Answer = TypeVar("Answer")


class Pool(Protocol):
    """Where the lines go, as `gateway.Gateway` has it."""

    async def submit(self, key: str, body: bytes) -> str: ...

    async def counts(self, batch: str) -> Counts: ...

    def results(self, batch: str) -> AsyncGenerator[str]: ...

    async def cancel(self, batch: str) -> None: ...

    async def take_up(self, batch: str) -> None: ...

    async def again(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer: ...


@dataclass(slots=True)
class Unit:
    """A chunk that was sent: what has become of its lines."""

    batches: list[Batch]
    bad: deque[Bad]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a job is run; none of it changes what it comes to."""

    in_order: bool = True
    window: int = 10_000  # lines between the input and their record
    strict: bool = False  # a bad line ends the job


@dataclass(slots=True)
class Tally:
    """What has been counted."""

    lines: int
    completed: int = 0
    failed: int = 0
    sent: int = 0  # lines in batches that are open
    began: float = field(default_factory=time.monotonic)

    def progress(self) -> Progress:
        return Progress(self.lines, self.completed, self.failed, self.sent, time.monotonic() - self.began)


class Flow:
    """Feeds and records side by side, until every line has its record."""

    def __init__(self, pool: Pool, book: Book, start: Start, manner: Manner, listener: Listener) -> None:
        header = start.header
        self._pool = pool
        self._book = book
        self._start = start
        self._marks = start.marks
        self._manner = manner
        self._listener = listener
        self._sender = Sender(pool, header.id, header.agent, options_of(header), self._accepted)
        self._open = {batch.id: batch for batch in start.batches}  # accepted, and not all recorded
        self._resumed = {line: batch for batch in start.batches for line in batch.lines}
        self._units: asyncio.Queue[Unit | None] = asyncio.Queue()
        self._sending: asyncio.Future[Unit] | None = None
        self.window = Window(manner.window)
        self.tally = Tally(header.input.items, start.completed, start.failed)

    async def run(self, chunks: Iterator[Chunk]) -> None:
        """Returns when every line of these chunks has its record. Raises JobStopped."""
        try:
            await self._take_up(self._open if self._start.knows_batches else ())
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell())
                feeding = group.create_task(self._feed(chunks))
                await self._record()
                await feeding
                telling.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self._listener.progress(self.tally.progress())

    async def end_sending(self) -> None:
        """Returns when no batch is on its way that is not noted, or it has taken too long."""
        if self._sending is not None:
            done, _ = await asyncio.wait([self._sending], timeout=LAST_SEND)
            for sending in done:
                sending.cancelled() or sending.exception()  # looked at, whatever it is: the job ends for another reason

    async def cancel(self) -> None:
        """Cancel what is in flight; a job that goes on takes it up again."""
        self._book.canceled(so=True)
        for id in self._open:
            await self._pool.cancel(id)

    async def _take_up(self, ids: Iterable[str]) -> None:
        if self._start.canceled:
            for id in ids:
                await self._pool.take_up(id)
            if self._start.knows_batches:
                self._book.canceled(so=False)

    async def _feed(self, chunks: Iterator[Chunk]) -> None:
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            lines = [line for line in chunk.lines if line not in self._marks]
            if lines:
                await self.window.take(len(lines))
                self._sending = asyncio.ensure_future(self._send(chunk))
                # A batch that is on its way when the job is to end is noted all the same, if it gets so far.
                self._units.put_nowait(await asyncio.shield(self._sending))
        self._units.put_nowait(None)

    async def _send(self, chunk: Chunk) -> Unit:
        """Raises JobStopped."""
        bad = [wrong for wrong in chunk.bad if wrong.line not in self._marks]
        self._refuse_strictly(bad)
        left = [item for item in chunk.items if item[0] not in self._marks]
        before = {self._resumed[line].id: self._resumed[line] for line, _ in left if line in self._resumed}
        sent, more = await self._sender.send([item for item in left if item[0] not in self._resumed])
        self._refuse_strictly(more)
        if not self._start.knows_batches:
            await self._take_up([batch.id for batch in sent])
        self.tally.sent += sum(line not in self._marks for batch in before.values() for line in batch.lines)
        batches = sorted([*before.values(), *sent], key=lambda batch: batch.lines)
        return Unit(batches, deque(sorted([*bad, *more], key=lambda wrong: wrong.line)))

    def _accepted(self, batch: Batch) -> None:
        if batch.id not in self._open:
            self._book.accepted(batch)
            self._open[batch.id] = batch
        self.tally.sent += len(batch.lines)

    def _refuse_strictly(self, bad: list[Bad]) -> None:
        if bad and self._manner.strict:
            raise JobStopped(f"line {bad[0].line}: {words(bad[0].error)}; --strict ends the job there")

    async def _record(self) -> None:
        async with asyncio.TaskGroup() as group:
            while (unit := await self._units.get()) is not None:
                if not self._manner.in_order:
                    self._refuse(unit.bad)
                    for batch in unit.batches:
                        group.create_task(self._finish(batch, unit.bad))
                    continue
                for batch in unit.batches:
                    await self._finish(batch, unit.bad)
                self._refuse(unit.bad)

    async def _finish(self, batch: Batch, bad: deque[Bad]) -> None:
        """Returns when each line of the batch is recorded, and what is bad before one of them before it."""
        began, seen = time.monotonic(), 0
        while True:
            counts = await self._pool.counts(batch.id)
            _check_total(batch, counts)
            ended = counts.done == counts.total
            if (ended or (counts.done > seen and not self._manner.in_order)) and await self._take(batch, bad):
                del self._open[batch.id]
                return
            seen = counts.done
            await asyncio.sleep(min(PAUSES[1], max(PAUSES[0], (time.monotonic() - began) / 10)))

    async def _take(self, batch: Batch, bad: deque[Bad]) -> bool:
        """Record what has ended of a batch, and say whether that was the rest of it."""
        try:
            whole = await self._pool.again(lambda: self._take_once(batch, bad))
        except Refusal as refusal:
            raise JobStopped(words(refusal.document)) from None
        self._book.settle()
        return whole

    async def _take_once(self, batch: Batch, bad: deque[Bad]) -> bool:
        """Raises Away where the results break off; what was recorded by then is not recorded again."""
        lines = iter(batch.lines)
        async with aclosing(self._pool.results(batch.id)) as results:
            async for text in results:
                line = next(lines)
                if line in self._marks:
                    continue
                record = result(line, text)
                if record is not None:
                    self._refuse(bad, before=line)
                    self._write(record)
                    self.tally.sent -= 1
                elif self._manner.in_order:
                    return False
        if next(lines, None) is not None:
            raise Away("the results broke off")
        return self._marks.have(batch.lines)

    def _refuse(self, bad: deque[Bad], before: float = math.inf) -> None:
        while bad and bad[0].line < before:
            wrong = bad.popleft()
            self._write(refused(wrong.line, wrong.error))

    def _write(self, record: Record) -> None:
        self._book.write(record)
        self._marks.add(record.line)
        if record.good:
            self.tally.completed += 1
        else:
            self.tally.failed += 1
        self.window.give()

    async def _tell(self) -> None:
        while True:
            self._listener.progress(self.tally.progress())
            await asyncio.sleep(TELL)


def options_of(header: Header) -> dict[str, Any]:
    """What is asked of each task: it can be found by the job, and takes turns with what else there is as one customer
    would."""
    name, asked = f"job-{header.id}", header.options
    return {**asked, "tags": [*asked.get("tags", ()), name], "limit_key": asked.get("limit_key", name)}


def _check_total(batch: Batch, counts: Counts) -> None:
    if counts.total != len(batch.lines):
        raise JobStopped(
            f"of lines {batch.lines[0]} to {batch.lines[-1]} tasks are gone: what has ended is kept for a while only "
            "(docs/retention.md); choose another OUT, and the job starts anew"
        )


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error that ended the others."""
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
