"""Files of lines that cannot grow without bound: each is turned over once, and the oldest of a folder go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

FILE_LIMIT = 64 * 2**20  # bytes; then the file becomes `.1`, in place of an earlier one
FOLDER_LIMIT = 2**30  # bytes


class LogFile:
    """Appends lines, each handed to the system at once, so that those of a killed process are there."""

    def __init__(self, path: Path, limit: int = FILE_LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._lock = Lock()
        self._file = _opened(path)
        self._size = self._file.tell()

    def write(self, line: bytes) -> None:
        """Append a line. One that cannot be written (no room, no folder) is dropped: a log must not end a task."""
        with self._lock, suppress(OSError, ValueError):
            if self._size + len(line) > self._limit:
                self._turn()
            self._size += self._file.write(line)

    def _turn(self) -> None:
        os.replace(self._path, f"{self._path}.1")
        full, self._file = self._file, _opened(self._path)
        full.close()
        self._size = 0

    def close(self) -> None:
        """Write nothing more."""
        with self._lock:
            self._file.close()


def files(folder: Path) -> Iterator[BinaryIO]:
    """The log files of a folder, opened one by one, the older half of each first."""
    for path in sorted(_paths(folder), reverse=True):  # `.jsonl.1` before `.jsonl`
        with suppress(FileNotFoundError), path.open("rb") as file:
            yield file


def prune(folder: Path, limit: int = FOLDER_LIMIT) -> None:
    """Remove the files that were written to longest ago, until the rest fits the limit."""
    found = []
    for path in _paths(folder):
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size


def _paths(folder: Path) -> list[Path]:
    return [*folder.glob("*.jsonl"), *folder.glob("*.jsonl.1")]


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab", buffering=0)
