"""One run in a test host: what it records, where it is told to die, and what is lost when it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .branches import Wait
from .events import Emitted
from .journal import Journal, StepId, StepRecord
from .memory import READ
from .waits import Child, SignalSent

Entry = StepRecord | Emitted | tuple[StepRecord, int]  # with a signal: the number of the one that a wait took


class Crash(BaseException):
    """The process died here; a BaseException, so that no agent catches it."""


@dataclass(frozen=True)
class Waited:
    """What one branch waits for; `ended`: so many children of the group, counted over all runs."""

    until: float | None
    signal: str | None
    group: str | None
    ended: int


@dataclass
class Kept:
    """What a task keeps from one run to the next."""

    now: Callable[[], float]  # the clock that waits go by
    adopt: Callable[[Child], None]  # creates a child, unless it exists
    journal: Journal = field(default_factory=Journal)
    events: list[Emitted] = field(default_factory=list)
    signals: dict[int, SignalSent] = field(default_factory=dict)  # those that no wait has taken
    started: set[str] = field(default_factory=set)  # steps that may not begin again
    ended: Counter[str] = field(default_factory=Counter)  # children by group
    waited: tuple[Waited, ...] = ()  # where the last run ended in a wait: for one of these

    def keep(self, entries: list[Entry]) -> None:
        """These are recorded for good."""
        for entry in entries:
            match entry:
                case Emitted():
                    self.events.append(entry)
                case StepRecord():
                    self.journal.add(entry)
                case (record, signal):
                    self.journal.add(record)
                    self.signals.pop(signal, None)

    def wait(self, waits: tuple[Wait, ...]) -> None:
        """The run waits for these."""
        self.waited = tuple(
            Waited(wait.until, wait.signal, wait.group, wait.left() + self.ended[wait.group or ""]) for wait in waits
        )

    def hear(self, call: Child, outcome: str) -> StepRecord:
        """A child has ended with this outcome."""
        record = StepRecord(call.step, call.digest, outcome)
        self.journal.add(record)
        self.ended[call.group] += 1
        return record

    @property
    def ready(self) -> bool:
        """Whether one of the waits is over, or there is none."""
        return not self.waited or any(
            (wait.until is not None and wait.until <= self.now())
            or any(sent.name == wait.signal for sent in self.signals.values())
            or (wait.group is not None and self.ended[wait.group] >= wait.ended)
            for wait in self.waited
        )


@dataclass
class Rehearsal:
    """The recorder and the keeper of one run. It dies at the step it was told to, and stays dead: what still runs then
    gets nowhere. What was not `flushed` goes with it; a `sync` run flushes all it records."""

    kept: Kept
    sync: bool
    crash_before: str | None
    crash_after: str | None
    hurry: Callable[[], None]  # the run does not notice by itself that it waits
    ran: list[str] = field(default_factory=list)
    waits: tuple[Wait, ...] = ()  # for which it unwinds
    died: str = ""
    _unflushed: list[Entry] = field(default_factory=list)

    # as a recorder

    async def may_start(self) -> None:
        self.live()

    async def record(self, step: StepRecord) -> None:
        self.live()
        self.ran.append(str(step.id))
        self._record(step.id, step)
        if step.id.name == READ:
            self.flush()  # as a worker does

    async def emit(self, event: Emitted) -> None:
        self.live()
        self._put(event)

    # as a keeper

    def now(self) -> float:
        return self.kept.now()

    def note(self, step: StepRecord) -> None:
        self.live()
        self._record(step.id, step)

    async def take(self, step: StepRecord, signal: int | None) -> None:
        self.live()
        self._record(step.id, step if signal is None else (step, signal))

    async def begin(self, step: StepId) -> None:
        self.live()
        self.flush()
        self.kept.started.add(str(step))

    async def call(self, child: Child) -> None:
        self.live()
        if self.crash_before in (child.step.name, str(child.step)):
            self._die(f"before {child.step} was called")
        self.flush()
        self.kept.adopt(child)
        if self.crash_after in (child.step.name, str(child.step)):
            self._die(f"after {child.step} was called")

    # what the host asks

    def suspend(self, waits: tuple[Wait, ...]) -> None:
        """The run unwinds, since it waits for these."""
        self.waits = waits
        self.hurry()

    def live(self) -> None:
        """Raises Crash once the process has died."""
        if self.died:
            raise Crash(self.died)

    def flush(self) -> None:
        """What was recorded so far outlives this run."""
        entries, self._unflushed = self._unflushed, []
        self.kept.keep(entries)

    # parts

    def _record(self, step: StepId, entry: Entry) -> None:
        names = (step.name, str(step))
        if self.crash_before in names:
            self._die(f"before {step} was recorded")
        self._put(entry)
        if self.crash_after in names:
            self._die(f"after {step} was recorded")

    def _put(self, entry: Entry) -> None:
        self._unflushed.append(entry)
        if self.sync:
            self.flush()

    def _die(self, when: str) -> None:
        self.died = when
        self.live()
