"""Lines of any input in bounded memory: they end at \\n alone, whatever else a text may hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PIECE = 256 * 1024  # bytes that are read at once
LINE_BYTES = 4 * 1024 * 1024  # of one line; what is larger is not kept, and belongs into an artifact
BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, its number counted from 1 as editors do; of one that is too long only the beginning."""

    number: int
    text: bytes
    size: int

    @property
    def is_blank(self) -> bool:
        return self.size == len(self.text) and not self.text.strip(SPACE)


class Splitter:
    """Cuts what comes in pieces into lines, and keeps at most `limit` bytes of one."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._kept = 0
        self._size = 0
        self._number = 0

    @property
    def open(self) -> int:
        """Bytes of a line that has not ended."""
        return self._size

    def feed(self, piece: bytes) -> Iterator[Line]:
        """The lines that end in this piece."""
        first, *more = piece.split(b"\n")
        self._add(first)
        for part in more:
            yield self._close()
            self._add(part)

    def end(self) -> Iterator[Line]:
        """The last line, where no \\n ends it."""
        if self._size:
            yield self._close()

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        room = self._limit - self._kept
        if part and room > 0:
            kept = part[:room]
            self._parts.append(kept)
            self._kept += len(kept)

    def _close(self) -> Line:
        self._number += 1
        line = Line(self._number, b"".join(self._parts), self._size)
        self._parts.clear()
        self._kept = self._size = 0
        return line


@dataclass(frozen=True, slots=True)
class Survey:
    """What an input is, told before any of it is sent."""

    sha256: str
    bytes: int
    lines: int
    items: int  # lines that are not blank


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file that are not blank, without the mark that some editors begin one with."""
    return (line for line in _all_lines(_pieces(file)) if not line.is_blank)


def survey(file: BinaryIO) -> Survey:
    """Read a file once from end to end."""
    digest, size, lines, items = hashlib.sha256(), 0, 0, 0

    def passing() -> Iterator[bytes]:
        nonlocal size
        for piece in _pieces(file):
            digest.update(piece)
            size += len(piece)
            yield piece

    for line in _all_lines(passing()):
        lines = line.number
        items += not line.is_blank
    return Survey(digest.hexdigest(), size, lines, items)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _all_lines(pieces: Iterator[bytes]) -> Iterator[Line]:
    splitter = Splitter()
    for piece in pieces:
        yield from map(_plain, splitter.feed(piece))
    yield from map(_plain, splitter.end())


def _plain(line: Line) -> Line:
    if line.number == 1 and line.text.startswith(BOM):
        return Line(1, line.text.removeprefix(BOM), line.size - len(BOM))
    return line
