"""How far a job is, and its end: records that are told as JSON to programs, and in words to people."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, in lines that are not blank."""

    lines: int
    completed: int
    failed: int
    in_flight: int
    seconds: float

    @property
    def done(self) -> int:
        return self.completed + self.failed

    def words(self) -> str:
        failed = f", {self.failed:,} of them with an error" if self.failed else ""
        return f"{self.done:,} of {self.lines:,} lines{failed}, {self.in_flight:,} in flight ({self.seconds:.0f} s)"


class Listener(Protocol):
    """Who is told."""

    def progress(self, progress: Progress) -> None: ...

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def ended(self, end: str, code: int, progress: Progress, text: str) -> None:
        """The last word; `end` is completed, failed, stopped or interrupted, and the driver exits with the code."""


class Programs:
    """A JSON object on a line for each thing, on stdout."""

    def progress(self, progress: Progress) -> None:
        _say("progress", **asdict(progress))

    def note(self, text: str) -> None:
        _say("note", text=text)

    def ended(self, end: str, code: int, progress: Progress, text: str) -> None:
        _say("ended", end=end, code=code, text=text, **asdict(progress), peak_bytes=peak_bytes())


class People:
    """A line for each thing, on stderr: for logs, where nothing can be drawn. How far it is it says less and less
    often."""

    def __init__(self) -> None:
        self._next = 0.0

    def progress(self, progress: Progress) -> None:
        if progress.seconds >= self._next or progress.done == progress.lines:
            self.note(progress.words())
            self._next = progress.seconds + min(60.0, max(1.0, progress.seconds / 10))

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def ended(self, end: str, code: int, progress: Progress, text: str) -> None:
        self.note(text)


def heard(line: str) -> dict[str, Any] | None:
    """What a driver has said on this line to programs; None where it is anything else."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.get("job") in ("progress", "note", "ended") else None


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _say(what: str, **parts: Any) -> None:
    sys.stdout.write(json.dumps({"job": what, **parts}) + "\n")
    sys.stdout.flush()
