"""What a failed attempt comes to: again later or failed for good, with an error that a caller can read."""

from __future__ import annotations

import json
import math
import traceback

from agents import Permanent, Retry, Retryable, RubatoError
from agents.artifacts import ArtifactMissing
from agents.errors import InvalidInput, InvalidOutput, StepError, StepMismatch
from agents.running import failed_step

from .claims import Ending, Verdict

DETAIL_LIMIT = 4000  # characters of an error's text
LONGEST_WAIT = 365 * 86400.0  # seconds; an author may ask for more, and gets this


class TimedOut(RubatoError):
    """The attempt ran longer than it may."""


class UnknownAgent(Permanent):
    """This worker has no agent of that name."""


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
    StepError: "step_error",
    StepMismatch: "step_mismatch",
}


def failed(error: BaseException, *, attempt: int, max_attempts: int, retry: Retry, now: float, roll: float) -> Verdict:
    """The verdict on attempt number `attempt`, which ended in `error`."""
    error = foremost(error)
    text = describe(error, attempt)
    if isinstance(error, Permanent) or attempt >= max_attempts:
        return Verdict(Ending.FAILED, error=text)
    return Verdict(Ending.RETRY, error=text, retry_at=now + _wait(error, attempt, retry, roll))


def _wait(error: BaseException, attempt: int, retry: Retry, roll: float) -> float:
    after = error.after if isinstance(error, Retryable) else None
    if isinstance(after, int | float) and not math.isnan(after):
        return min(max(0.0, after), LONGEST_WAIT)
    return retry.delay(attempt, roll)


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
