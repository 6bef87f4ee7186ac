"""Where a job keeps what it has done: OUT, the errors beside it, and the journal that says how to go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .errors import JobStopped, WrongUsage
from .journal import Batch, Header, Journal, Noted, read_journal
from .places import errors_of, found_at, is_url, journal_of, plain, writing
from .records import Marks, Record
from .sheet import Sheet

CHECKPOINT = 2.0  # seconds between two moments at which all is on disk, and noted to be


@dataclass(slots=True)
class Start:
    """Where a job begins: what is recorded, and what was accepted and is not."""

    header: Header
    marks: Marks
    completed: int = 0
    failed: int = 0
    batches: list[Batch] = field(default_factory=list)
    canceled: bool = False  # what was in flight then was canceled ...
    knows_batches: bool = True  # ... and is in `batches`; else it may be any

    @property
    def is_fresh(self) -> bool:
        return not (self.completed or self.failed or self.batches)


class Book(Protocol):
    """What a driver writes down."""

    def open(self, asked: Header) -> Start:
        """Begin this job, or go on with it. Raises WrongUsage where OUT is of something else."""

    def accepted(self, batch: Batch) -> None:
        """Note a batch, before anything is recorded of it."""

    def canceled(self, *, so: bool) -> None:
        """Note that what is in flight is canceled, or goes on again."""

    def write(self, record: Record) -> None: ...

    def settle(self) -> None:
        """What was written is safe from the end of this process."""

    def close(self, *, whole: bool) -> None:
        """`whole`: nothing is missing."""


def book_at(out: str, order: str) -> Book:
    """The book of a job that writes to OUT."""
    return UrlBook(out) if is_url(out) else FileBook(plain(out), in_order=order == "input")


class FileBook:
    """In files that grow."""

    def __init__(self, out: str, *, in_order: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = Sheet(Path(out), in_order=in_order)
        self._errors = Sheet(Path(errors_of(out)), in_order=in_order)
        self._place = out
        self._clock = clock
        self._checked = clock()
        self._journal: Journal | None = None

    def open(self, asked: Header) -> Start:
        place = journal_of(self._place)
        with writing(self._place):
            journal = self._journal = Journal(Path(place))
        noted = journal.read(lambda lines: False)
        if noted.header is None:
            try:
                return self._begin(journal, asked)
            except WrongUsage:
                Path(place).unlink()
                raise
        noted.header.check(asked, place)
        marks = Marks(asked.input.lines)
        completed = self._out.read(noted.out, marks)
        failed = self._errors.read(noted.errors, marks)
        batches = journal.read(lambda lines: not marks.have(lines)).batches
        return Start(noted.header, marks, completed, failed, batches, noted.canceled)

    def _begin(self, journal: Journal, asked: Header) -> Start:
        for path in (self._place, errors_of(self._place)):
            there = Path(path)
            if there.exists() and not there.is_file():
                raise WrongUsage(f"{path} is not a file")
            if there.exists() and there.stat().st_size:
                raise WrongUsage(f"{path} is there already, and not of a job; choose another OUT, or remove it")
        self._out.create()
        journal.write(asked.text())
        return Start(asked, Marks(asked.input.lines))

    def accepted(self, batch: Batch) -> None:
        self._note(batch.note())

    def canceled(self, *, so: bool) -> None:
        self._note({"canceled": so})

    def write(self, record: Record) -> None:
        (self._out if record.good else self._errors).write(record)

    def settle(self) -> None:
        self._out.flush()
        self._errors.flush()
        if self._clock() - self._checked >= CHECKPOINT:
            self._check()

    def close(self, *, whole: bool) -> None:
        if self._journal is not None:
            self._check()
            self._journal.close()
        self._out.close()
        self._errors.close()

    def _check(self) -> None:
        sheets = (self._out.flush(sync=True), self._errors.flush(sync=True))
        self._note({"written": [[sheet.bytes, sheet.sha256] for sheet in sheets]})
        self._checked = self._clock()

    def _note(self, said: dict[str, Any]) -> None:
        assert self._journal is not None, "a book is opened first"
        with writing(journal_of(self._place), JobStopped):
            self._journal.note(said)


class UrlBook:
    """Under URLs, where nothing can be added to what is written: OUT appears when the job has ended.

    A job that was interrupted asks for all of its results anew: the keys of its batches are fixed, so no task runs
    twice.
    """

    def __init__(self, out: str) -> None:
        self._place = out
        self._files, self._path = found_at(out)
        self._errors = found_at(errors_of(out))[1]
        self._open: dict[str, Any] = {}
        self._header = b""

    def open(self, asked: Header) -> Start:
        with writing(self._place):
            noted = self._read()
            if noted.header is not None:
                noted.header.check(asked, journal_of(self._place))
            elif self._files.exists(self._path):
                raise WrongUsage(f"{self._place} is there already, and not of a job; choose another OUT, or remove it")
            header = noted.header or asked
            self._header = header.text()
            if noted.header is None:
                self._files.pipe_file(journal_of(self._path), self._header)
            self._sheet(self._path)
        return Start(header, Marks(asked.input.lines), canceled=noted.canceled, knows_batches=False)

    def accepted(self, batch: Batch) -> None:
        """Its key says it all."""

    def canceled(self, *, so: bool) -> None:
        with writing(self._place, JobStopped):
            note = json.dumps({"canceled": so}).encode() + b"\n"
            self._files.pipe_file(journal_of(self._path), self._header + note)

    def write(self, record: Record) -> None:
        with writing(self._place, JobStopped):
            self._sheet(self._path if record.good else self._errors).write(record.text)

    def settle(self) -> None:
        """Nothing is to be seen before the end."""

    def close(self, *, whole: bool) -> None:
        with writing(self._place, JobStopped):
            for file in self._open.values():
                file.close()
                (file.commit if whole else file.discard)()
        self._open.clear()

    def _read(self) -> Noted:
        job = journal_of(self._path)
        lines = self._files.cat_file(job).splitlines(keepends=True) if self._files.exists(job) else []
        return read_journal(lines, journal_of(self._place), lambda lines: False)

    def _sheet(self, path: str) -> Any:
        if path not in self._open:
            self._open[path] = self._files.open(path, "wb", autocommit=False)
        return self._open[path]
