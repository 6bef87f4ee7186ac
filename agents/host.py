"""What a run has from its host: who and where it is, where it records, how it has other agents answer, and how it
leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, NoReturn, Protocol

from .context import Mode
from .events import Emitted
from .journal import StepId, StepRecord
from .resources import Resources
from .waits import Call

Leave = Callable[[str], Awaitable[NoReturn]]  # has the run go on in the background, for a reason; does not return


class RunFacts(NamedTuple):
    """Who and where a run is; `timeout` is in seconds from now, `emitted` what earlier attempts sent outside steps, and
    `session` the one it belongs to."""

    mode: Mode
    task_id: str
    timeout: float
    attempt: int = 1
    tenant: str = ""
    emitted: int = 0
    session: str | None = None


class Recorder(Protocol):
    """Where a host keeps what its run has reached."""

    async def may_start(self) -> None:
        """Returns when a step may begin; a host that lost the run never lets it."""

    async def record(self, step: StepRecord) -> None:
        """Returns when the step is recorded as firmly as this host promises."""

    async def emit(self, event: Emitted) -> None:
        """Takes the event; its order among events and steps is kept."""

    async def begin(self, step: StepId) -> None:
        """Keeps that a step begins which may begin only once; returns when that is as firm as this host promises."""


class Place(Protocol):
    """Where a run is, of the workers or replicas that there are."""

    @property
    def guest(self) -> bool:
        """Whether it is where only steps that ask for it may run."""

    def elsewhere(self, step: StepId, asked: Resources | None) -> str | None:
        """What the step needs, as the host has it, where it may not run here; None where it may. Raises StepError."""


class Live(Protocol):
    """How a live run has other agents answer while its caller waits."""

    async def call(self, call: Call, child_id: str) -> str | None:
        """What the agent came to, as a child's outcome is recorded; None where it does not answer in real time.

        Raises ChildFailed; Overloaded and Retryable where the agent had no room, or asks to be called later.
        """
