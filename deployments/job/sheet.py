"""A file of records that only grows: read once at the start, and known from then on without reading it again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from .errors import JobStopped, WrongUsage
from .journal import Written
from .lines import PIECE, Splitter
from .places import writing
from .records import PREFIX, Marks, Record, line_of


class Sheet:
    """OUT, or the errors beside it; it is made with its first record, or when it is asked to be."""

    def __init__(self, path: Path, *, in_order: bool) -> None:
        self._path = path
        self._in_order = in_order
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._last = 0

    def read(self, written: Written, marks: Marks) -> int:
        """Mark the lines that are recorded, and say how many; cut off a record that is not whole.

        Raises WrongUsage where it is not what a job has written up to `written`, and perhaps beyond.
        """
        if not self._path.exists():
            if written.bytes:
                raise self._changed()
            return 0
        file = self._opened()
        with writing(str(self._path)):
            _cut(file)
            file.seek(0)
            found = self._scan(file, written, marks)
        if self._size < written.bytes:
            raise self._changed()
        return found

    def create(self) -> None:
        """See that it can be written. Raises WrongUsage."""
        self._opened()

    def write(self, record: Record) -> None:
        """Raises JobStopped."""
        if self._in_order and record.line <= self._last:
            raise JobStopped(f"{self._path} lacks line {record.line} and has later ones: it was changed")
        with writing(str(self._path), JobStopped):
            self._opened().write(record.text)
        self._digest.update(record.text)
        self._size += len(record.text)
        self._last = record.line

    def flush(self, *, sync: bool = False) -> Written:
        """From here on what was written survives the end of this process; with `sync`, that of the machine too."""
        if self._file is not None:
            with writing(str(self._path), JobStopped):
                self._file.flush()
                if sync:
                    os.fsync(self._file.fileno())
        return Written(self._size, self._digest.hexdigest())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            with writing(str(self._path)):
                self._file = self._path.open("a+b")
        return self._file

    def _scan(self, file: BinaryIO, written: Written, marks: Marks) -> int:
        splitter, found = Splitter(PREFIX), 0
        while piece := file.read(PIECE):
            self._weigh(piece, written)
            for record in splitter.feed(piece):
                line = line_of(record.text)
                if line is None or not marks.add(line):
                    raise self._changed()
                self._last = line
                found += 1
        return found

    def _weigh(self, piece: bytes, written: Written) -> None:
        """Add a piece to the digest. Raises WrongUsage where it is another one at the place that was noted."""
        here = written.bytes - self._size
        if 0 < here <= len(piece):
            self._digest.update(piece[:here])
            if self._digest.hexdigest() != written.sha256:
                raise self._changed()
            self._digest.update(piece[here:])
        else:
            self._digest.update(piece)
        self._size += len(piece)

    def _changed(self) -> WrongUsage:
        return WrongUsage(f"{self._path} is not as this job has left it; choose another OUT, and it starts anew")


def _cut(file: BinaryIO) -> None:
    """Let the file end with its last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - PIECE)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            file.truncate(start + newline + 1)
            return
        end = start
    file.truncate(0)
