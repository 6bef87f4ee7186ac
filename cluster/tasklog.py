"""What the code of a task logs and prints, kept as JSON lines in a file of its worker's process."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO, cast
from urllib.parse import quote

from .logfile import LogFile, files, prune

MESSAGE_LIMIT = 8 * 1024  # characters


class LogLine(NamedTuple):
    """One message of a task's code."""

    at: float
    task_id: str
    tenant: str
    attempt: int
    level: str
    logger: str  # for what was printed `stdout` or `stderr`
    message: str


class Speaker:
    """The attempt whose code is running here, and the lines that it has not ended yet."""

    __slots__ = ("attempt", "begun", "task_id", "tenant")

    def __init__(self, tenant: str, task_id: str, attempt: int) -> None:
        self.tenant = tenant
        self.task_id = task_id
        self.attempt = attempt
        self.begun: dict[TaskStream, str] | None = None

    def line(self, at: float, level: str, logger: str, message: str) -> LogLine:
        return LogLine(at, self.task_id, self.tenant, self.attempt, level, logger, bounded(message))


_speaker: ContextVar[Speaker | None] = ContextVar("rubato_speaker", default=None)


class speaking:
    """What is logged and printed inside, and in the tasks and steps started inside, is this attempt's. A class, since
    each run has such a block: as a generator it would take three times as long."""

    __slots__ = ("_speaker", "_token")

    def __init__(self, tenant: str, task_id: str, attempt: int) -> None:
        self._speaker = Speaker(tenant, task_id, attempt)

    def __enter__(self) -> None:
        self._token = _speaker.set(self._speaker)

    def __exit__(self, *error: object) -> None:
        _speaker.reset(self._token)
        if self._speaker.begun:
            for stream, text in list(self._speaker.begun.items()):
                stream.keep(self._speaker, text)


def bounded(message: str) -> str:
    """The message, without its middle if it is too long: a traceback says most at its ends."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    half = MESSAGE_LIMIT // 2
    return f"{message[:half]}\n... {len(message) - 2 * half} characters left out ...\n{message[-half:]}"


class TaskLog:
    """Inside `with`, the logging and the output streams of this process feed the file of this worker.

    What is said outside of a task goes where it went before.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._path = folder / f"{quote(worker, safe='')}.jsonl"

    def __enter__(self) -> TaskLog:
        prune(self._folder)
        self._file = LogFile(self._path)
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(min(root.level, logging.INFO))
        self._handler = TaskHandler(self._file)
        root.addHandler(self._handler)
        self._before = sys.stdout, sys.stderr
        self._after = TaskStream(sys.stdout, "stdout", self._file), TaskStream(sys.stderr, "stderr", self._file)
        sys.stdout, sys.stderr = cast(tuple[TextIO, TextIO], self._after)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.stdout, sys.stderr = self._before
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level)
        self._file.close()


class TaskHandler(logging.Handler):
    """Takes what a task logs; the rest it passes to stderr where no other handler would."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        speaker = _speaker.get()
        if speaker is not None:
            try:
                line = speaker.line(record.created, record.levelname, record.name, self.format(record))
                self._file.write(_encode(line))
            except Exception:  # noqa: BLE001 - as every handler does: a message that cannot be formatted ends no task
                self.handleError(record)
            return
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and logging.getLogger().handlers == [self]:
            last.handle(record)


class TaskStream:
    """stdout or stderr: a task's lines go to the file, everything else to the stream that was here before."""

    def __init__(self, stream: TextIO, name: str, file: LogFile) -> None:
        self._stream = stream
        self._name = name
        self._file = file

    def write(self, text: str) -> int:
        speaker = _speaker.get()
        if speaker is None:
            return self._stream.write(text)
        if speaker.begun is None:
            speaker.begun = {}
        *lines, rest = (speaker.begun.pop(self, "") + text).split("\n")
        for line in lines:
            self.keep(speaker, line)
        while len(rest) > MESSAGE_LIMIT:
            self.keep(speaker, rest[:MESSAGE_LIMIT])
            rest = rest[MESSAGE_LIMIT:]
        if rest:
            speaker.begun[self] = rest
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def keep(self, speaker: Speaker, text: str) -> None:
        """Write one line that is complete."""
        if text:
            level = "INFO" if self._name == "stdout" else "WARNING"
            self._file.write(_encode(speaker.line(time.time(), level, self._name, text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def read(folder: Path, tenant: str, task_id: str) -> list[LogLine]:
    """What this task's code has said so far, on whichever worker, in the order of time."""
    mark = json.dumps(task_id).encode()
    found = []
    for file in files(folder):
        for raw in file:
            line = _decode(raw) if mark in raw else None
            if line is not None and (line.tenant, line.task_id) == (tenant, task_id):
                found.append(line)
    return sorted(found, key=lambda line: line.at)


def _encode(line: LogLine) -> bytes:
    return json.dumps(line._asdict()).encode() + b"\n"


def _decode(raw: bytes) -> LogLine | None:
    """None for the half line of a process that was killed, or a line of another version."""
    try:
        return LogLine(**json.loads(raw))
    except (ValueError, TypeError):
        return None
