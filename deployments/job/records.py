"""What stands in OUT and beside it: a record for each line of the input, which names the line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..gateway.fragments import members

PREFIX = 80  # bytes that say which line a record is of
_RECORD = re.compile(rb'\{"line":([0-9]{1,15}),"id":(?:"[0-9a-f-]{36}"|null),"(?:output|error)":')
ENDED = frozenset(['"completed"', '"failed"', '"canceled"'])
CANCELED = {"type": "canceled", "title": "Canceled", "detail": "The task was canceled."}


class Record(NamedTuple):
    """What has come of one line."""

    line: int
    good: bool
    text: bytes


def result(line: int, answer: str) -> Record | None:
    """The record of a task, from its line of a batch's results; None where it has not ended. The output stands in it
    exactly as the agent's type wrote it."""
    task = members(answer)
    if task["state"] not in ENDED:
        return None
    if task["state"] == '"completed"':
        return Record(line, True, _text(line, task["id"], "output", task["output"]))
    error = json.dumps(CANCELED) if task["error"] == "null" else task["error"]
    return Record(line, False, _text(line, task["id"], "error", error))


def refused(line: int, error: dict[str, Any]) -> Record:
    """The record of a line that never became a task."""
    return Record(line, False, _text(line, "null", "error", json.dumps(error)))


def line_of(text: bytes) -> int | None:
    """Of which line this is the record, from how it begins; None for what is no record."""
    found = _RECORD.match(text)
    return int(found[1]) if found else None


class Marks:
    """Which lines are recorded: a bit for each."""

    def __init__(self, lines: int) -> None:
        self._bits = bytearray(lines // 8 + 1)
        self._lines = lines

    def add(self, line: int) -> bool:
        """False where it was there, or cannot be."""
        if line in self or not 1 <= line <= self._lines:
            return False
        self._bits[line // 8] |= 1 << line % 8
        return True

    def __contains__(self, line: int) -> bool:
        return 1 <= line <= self._lines and bool(self._bits[line // 8] & 1 << line % 8)

    def have(self, lines: Iterable[int]) -> bool:
        return all(line in self for line in lines)


def _text(line: int, id: str, name: str, value: str) -> bytes:
    return f'{{"line":{line},"id":{id},"{name}":{value}}}\n'.encode()
