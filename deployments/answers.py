"""The answers that a replica keeps, so that the same question is not computed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

CACHE_BYTES = 64 * 1024 * 1024  # of all answers that one replica keeps
OVERHEAD = 500  # bytes that an answer takes beside its key and its text


class Answer(NamedTuple):
    """An output as JSON, the task id of the run that gave it, and when."""

    output: bytes
    task_id: str
    at: float


class Answers:
    """The newest answers by key, the least recently used dropped first; ages by `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float], room: int = CACHE_BYTES) -> None:
        self._clock = clock
        self._room = room
        self._bytes = 0
        self._kept: OrderedDict[str, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """About how much memory they take."""
        return self._bytes

    def find(self, key: str, oldest: float) -> tuple[Answer, float] | None:
        """The answer, and its age, if it is at most so old."""
        answer = self._kept.get(key)
        if answer is None:
            return None
        age = max(0.0, self._clock() - answer.at)
        if age > oldest:
            return None
        self._kept.move_to_end(key)
        return answer, age

    def keep(self, key: str, output: bytes, task_id: str) -> None:
        """From now on this is the answer; one that is larger than all the room is not kept."""
        self._drop(key)
        answer = Answer(output, task_id, self._clock())
        if _bytes(key, answer) > self._room:
            return
        self._kept[key] = answer
        self._bytes += _bytes(key, answer)
        while self._bytes > self._room:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        answer = self._kept.pop(key, None)
        if answer is not None:
            self._bytes -= _bytes(key, answer)


def _bytes(key: str, answer: Answer) -> int:
    return OVERHEAD + len(key) + len(answer.output)
