"""What an error tells those who called: a document with its kind, its words and the step it came from."""

from __future__ import annotations

import json
import traceback

from .artifacts import ArtifactMissing
from .errors import (
    ChildFailed,
    InvalidInput,
    InvalidOutput,
    NeedsBackground,
    Permanent,
    Retryable,
    SignalTimeout,
    StepError,
    StepMismatch,
    StepOutcomeUnknown,
    TimedOut,
    UnknownAgent,
)

DETAIL_LIMIT = 4000  # characters of an error's text
_MARK = "rubato_step"  # where an error says which step raised it

# The `type` of an error, by the nearest of its classes. The ledger adds `worker_died` and `expired`.
TYPES: dict[type[BaseException], str] = {
    BaseException: "error",
    Retryable: "retryable",
    TimedOut: "timeout",
    Permanent: "permanent",
    UnknownAgent: "unknown_agent",
    ArtifactMissing: "artifact_missing",
    InvalidInput: "invalid_input",
    InvalidOutput: "invalid_output",
    NeedsBackground: "needs_background",
    ChildFailed: "child_failed",
    SignalTimeout: "signal_timeout",
    StepError: "step_error",
    StepMismatch: "step_mismatch",
    StepOutcomeUnknown: "step_outcome_unknown",
}


def mark(error: BaseException, step: object) -> None:
    """Have the error say which step raised it."""
    error.__dict__[_MARK] = step


def failed_step(error: BaseException) -> str | None:
    """The step that raised this error, or was refused with it; None if it came from outside of steps."""
    if isinstance(error, StepError):
        return error.step
    step = error.__dict__.get(_MARK)
    return None if step is None else str(step)


def foremost(error: BaseException) -> BaseException:
    """The error that decides. Of a group (several branches failed together) it is a Permanent one, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [foremost(branch) for branch in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, Permanent)), leaves[0])


def describe(error: BaseException, attempt: int) -> str:
    """The error as JSON: what a caller may see of it, which is no stack trace."""
    kind = next(TYPES[cls] for cls in type(error).__mro__ if cls in TYPES)
    told = {
        "type": kind,
        "title": type(error).__name__,
        "detail": _text(error)[:DETAIL_LIMIT],
        "step": failed_step(error),
        "attempt": attempt,
    }
    return json.dumps(told)


def _text(error: BaseException) -> str:
    """The error's own words, with the problems of an invalid input; lone surrogates have no place in JSON."""
    try:
        words = [str(error), *(error.problems if isinstance(error, InvalidInput) else ())]
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        words = [traceback.format_exception_only(error)[-1].strip()]
    return "; ".join(words).encode("utf-8", "replace").decode()
