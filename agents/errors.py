"""What can go wrong in a run, one class for each thing the caller should do next."""

from __future__ import annotations


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
