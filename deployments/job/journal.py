"""What a job notes beside OUT, before it acts on it: who it is, what was accepted, how much is safely written.

A driver that is killed at any line finds here, and in what it has written, where it was.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import JobStopped, WrongUsage
from .lines import Survey

FORMAT = 1
WORDS = {"agent": "AGENT", "input": "IN", "order": "--order", "options": "the options of its tasks"}


@dataclass(frozen=True, slots=True)
class Header:
    """Which job this is: it is fixed before the first line is sent, and never changes."""

    id: str
    agent: str
    input: Survey
    order: str
    options: dict[str, Any]
    batch: int  # lines that are sent together
    format: int = FORMAT

    def text(self) -> bytes:
        return json.dumps({"job": asdict(self)}).encode() + b"\n"

    def check(self, asked: Header, where: str) -> None:
        """Raises WrongUsage where another job than this one is asked for."""
        if self.format != asked.format:
            raise WrongUsage(f"{where} is of a job of another version of Rubato; finish it with that one")
        for part, word in WORDS.items():
            if getattr(self, part) != getattr(asked, part):
                changed = "IN has changed since, or is another file" if part == "input" else f"it had another {word}"
                raise WrongUsage(
                    f"{where} is of a job that cannot go on: {changed}; give it what it had, or choose another OUT"
                )


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that were accepted together."""

    id: str
    lines: tuple[int, ...]

    def note(self) -> dict[str, Any]:
        return {"accepted": self.id, "lines": ranges(self.lines)}


Wanted = Callable[[Iterable[int]], bool]


@dataclass(frozen=True, slots=True)
class Written:
    """How much of a file is on disk, and its sha256."""

    bytes: int = 0
    sha256: str = ""


@dataclass(slots=True)
class Noted:
    """What a journal says."""

    header: Header | None = None
    batches: list[Batch] = field(default_factory=list)
    out: Written = Written()
    errors: Written = Written()
    canceled: bool = False  # what was in flight was canceled, and is to be taken up again
    size: int = 0  # bytes up to the last whole line


def read_journal(lines: Iterable[bytes], where: str, wanted: Wanted) -> Noted:
    """What these lines say, with the batches of which the lines are wanted; a last line that is not whole was never
    acted on. Raises WrongUsage."""
    noted = Noted()
    for line in lines:
        if not line.endswith(b"\n"):
            break
        try:
            _take(noted, json.loads(line), wanted)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WrongUsage(f"{where} is not what a job has written; choose another OUT, or remove it") from None
        noted.size += len(line)
    return noted


def _take(noted: Noted, said: dict[str, Any], wanted: Wanted) -> None:
    if "job" in said:
        job = said["job"]
        noted.header = Header(**{**job, "input": Survey(**job["input"])})
    elif "accepted" in said:
        if wanted(unrolled(said["lines"])):
            noted.batches.append(Batch(said["accepted"], tuple(unrolled(said["lines"]))))
    elif "written" in said:
        noted.out, noted.errors = (Written(*part) for part in said["written"])
    else:
        noted.canceled = said["canceled"]


class Journal:
    """The file of it: only one driver at a time, and what is noted is on disk before `note` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise JobStopped(f"another process writes this job's OUT just now: it holds {path}") from None

    def read(self, wanted: Wanted) -> Noted:
        """What was noted, with the batches of which the lines are wanted; what was not whole is cut off. Raises
        WrongUsage."""
        self._file.seek(0)
        noted = read_journal(self._file, str(self._path), wanted)
        self._file.truncate(noted.size)
        return noted

    def note(self, said: dict[str, Any]) -> None:
        self.write(json.dumps(said).encode() + b"\n")

    def write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def ranges(lines: Iterable[int]) -> list[list[int]]:
    """Growing numbers as first and last of what is without a gap."""
    found: list[list[int]] = []
    for line in lines:
        if found and found[-1][1] == line - 1:
            found[-1][1] = line
        else:
            found.append([line, line])
    return found


def unrolled(found: Iterable[Iterable[int]]) -> Iterator[int]:
    for first, last in found:
        yield from range(first, last + 1)
