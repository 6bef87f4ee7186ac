"""What a long command is doing: named phases, each told when it begins and when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class PhaseFailed(Exception):
    """A phase ended in an error, which is its cause."""

    def __init__(self, phase: str, error: BaseException) -> None:
        super().__init__(phase, error)
        self.phase = phase
        self.error = error

    def __str__(self) -> str:
        return f"{self.phase} failed: {self.error or type(self.error).__name__}"


class Audience(Protocol):
    """Whoever is told."""

    def begins(self, phase: str) -> None: ...

    def ends(self, phase: str, seconds: float) -> None: ...

    def says(self, phase: str, words: str) -> None:
        """What the phase has reached so far."""


@dataclass(frozen=True, slots=True)
class Phases:
    """Runs phases and remembers how long each took."""

    audience: Audience
    seconds: dict[str, float]

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[str], None]]:
        """One phase; call what is given with what it has reached. Raises PhaseFailed for whatever goes wrong in it."""
        began = time.monotonic()
        self.audience.begins(name)
        try:
            yield lambda words: self.audience.says(name, words)
        except PhaseFailed:
            raise
        except Exception as error:
            raise PhaseFailed(name, error) from error
        self.seconds[name] = time.monotonic() - began
        self.audience.ends(name, self.seconds[name])


def beside(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread that does not keep the process from ending."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result
