"""What can go wrong in a run, one class for each thing the caller should do next."""

from __future__ import annotations

from typing import Any

_UNKNOWN = (
    "it may run only once, has begun before, and left no result; look up where it acts whether it was carried out: a "
    "fork from this step runs it again"
)


class RubatoError(Exception):
    """Root of every error that Rubato raises on purpose."""


class Permanent(RubatoError):
    """Trying again cannot help: the task fails at once, whatever attempts are left."""


class Retryable(RubatoError):
    """Trying again may help; `after` is how many seconds to wait first (None: as the retry policy says)."""

    def __init__(self, message: str = "", after: float | None = None) -> None:
        super().__init__(message, after)
        self.after = after

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidInput(Permanent):
    """The caller must change what was sent; `problems` says what is wrong, one line each."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems)
        self.problems = problems

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidOutput(Permanent):
    """The agent returned something that is not of its declared type; its author must mend it."""


class StepError(Permanent):
    """A step was used in a way that cannot be recorded or replayed; `step` names it."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(step, message)
        self.step = step

    def __str__(self) -> str:
        return f"step {self.step!r}: {self.args[1]}"


class StepMismatch(StepError):
    """A recorded step was reached with other arguments: the code no longer follows its journal."""


class StepOutcomeUnknown(StepError):
    """A step that may run only once has begun, and nobody knows what came of it: a person must look."""

    def __init__(self, step: str) -> None:
        super().__init__(step, _UNKNOWN)
        self.args = (step,)

    def __str__(self) -> str:
        return f"step {self.step!r}: {_UNKNOWN}"


class NeedsBackground(Permanent):
    """The run must wait, and its caller holds a connection; submitted as a task, it can."""


class UnknownAgent(Permanent):
    """No agent of that name runs here."""


class MemoryConflict(Permanent):
    """Another run has written in the session since this one read it: read it again, and write what follows from that.

    A new attempt would not: what a run has read is recorded. In real time the caller is told to ask again.
    """

    def __init__(self, session: str, version: int) -> None:
        super().__init__(session, version)
        self.session = session
        self.version = version

    def __str__(self) -> str:
        return (
            f"another run has written in session {self.session!r} since this one read version {self.version} of it;"
            " read it again and write what follows from that, in a loop around both"
        )


class ChildFailed(Permanent):
    """A task that this run called has failed or was canceled: `task_id` is its id, `error` its error document."""

    def __init__(self, agent: str, task_id: str, error: dict[str, Any]) -> None:
        super().__init__(agent, task_id, error)
        self.agent = agent
        self.task_id = task_id
        self.error = error

    def __str__(self) -> str:
        title, detail = self.error.get("title"), self.error.get("detail")
        return f"task {self.task_id} of agent {self.agent!r} did not complete: {title}: {detail}"


class SignalTimeout(Permanent, TimeoutError):
    """The signal did not come in time; the journal says so, and a new attempt would not wait for it again."""


class TimedOut(RubatoError):
    """The attempt ran longer than it may."""


class Overloaded(RubatoError):
    """No room now; ask again after `retry_after` seconds, or ask someone else."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class NotLoadable(RubatoError):
    """An agent could not be loaded; `reference` names it and the message says why."""

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(reference, reason)
        self.reference = reference
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reference}: {self.reason}"
