"""What a failed attempt comes to: again later or failed for good."""

from __future__ import annotations

import json
import math

from agents import Permanent, Retry, Retryable
from agents.failures import describe, foremost

from .claims import Ending, Verdict
from .task import Task

LONGEST_WAIT = 365 * 86400.0  # seconds; an author may ask for more, and gets this


def failed(
    error: BaseException, *, attempt: int, used: int, max_attempts: int, retry: Retry, now: float, roll: float
) -> Verdict:
    """The verdict on attempt number `attempt`, which ended in `error`, when `used` of `max_attempts` have begun."""
    error = foremost(error)
    text = describe(error, attempt)
    if isinstance(error, Permanent) or used >= max_attempts:
        return Verdict(Ending.FAILED, error=text)
    return Verdict(Ending.RETRY, error=text, retry_at=now + _wait(error, used, retry, roll))


def _wait(error: BaseException, used: int, retry: Retry, roll: float) -> float:
    after = error.after if isinstance(error, Retryable) else None
    if isinstance(after, int | float) and not math.isnan(after):
        return min(max(0.0, after), LONGEST_WAIT)
    return retry.delay(used, roll)


def policy(task: Task, of_agent: Retry) -> Retry:
    """How long the task waits between its attempts: as it was submitted, else as its agent has it."""
    try:
        return Retry(**task.retry) if task.retry else of_agent
    except (TypeError, ValueError):  # what somebody else stored must not keep the attempt from ending
        return of_agent


def too_large(task: Task) -> str:
    """The error of a task of which too much was recorded."""
    return json.dumps(
        {
            "type": "too_large",
            "title": "Too much is recorded",
            "detail": (
                "What the task has recorded, with its input and its signals, is more than a worker can be handed."
                " Keep large values as artifacts (ctx.artifact), of which a step records a reference only; then submit"
                " the task anew, or fork it from an early step."
            ),
            "step": None,
            "attempt": task.attempts,
        }
    )


def expired(task: Task) -> str:
    """The error of a task that was not over when its deadline passed; its `cause` is that of the last attempt that
    failed, which nothing else may tell."""
    began = "was not over" if task.started_at is not None else "had not started"
    told = {
        "type": "expired",
        "title": "The deadline passed",
        "detail": f"The task {began} when its deadline passed.",
        "step": None,
        "attempt": task.attempts,
    }
    return json.dumps(told if task.error is None else {**told, "cause": json.loads(task.error)})
