"""What each way to fail comes to."""

from __future__ import annotations

import json
import math

import pytest

from agents import Permanent, Retry, Retryable
from agents.artifacts import ArtifactMissing
from agents.errors import (
    ChildFailed,
    InvalidInput,
    InvalidOutput,
    NeedsBackground,
    SignalTimeout,
    StepError,
    StepMismatch,
    StepOutcomeUnknown,
    TimedOut,
    UnknownAgent,
)
from agents.failures import DETAIL_LIMIT
from cluster import verdicts
from cluster.claims import Ending
from cluster.verdicts import LONGEST_WAIT

NOW = 1000.0
POLICY = Retry(base=2, cap=30, jitter=0.5)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def failed(error: BaseException, used: int = 1, attempt: int | None = None) -> tuple[Ending, float, dict[str, object]]:
    verdict = verdicts.failed(
        error, attempt=attempt or used, used=used, max_attempts=3, retry=POLICY, now=NOW, roll=0.5
    )
    return verdict.ending, verdict.retry_at, json.loads(verdict.error or "")


@pytest.mark.parametrize(
    ("error", "attempt", "ending", "wait"),
    [
        (ValueError("x"), 1, Ending.RETRY, 2 * 1.25),
        (ValueError("x"), 2, Ending.RETRY, 4 * 1.25),
        (ValueError("x"), 3, Ending.FAILED, None),
        (ValueError("x"), 4, Ending.FAILED, None),
        (TimedOut("x"), 1, Ending.RETRY, 2 * 1.25),
        (TimedOut("x"), 3, Ending.FAILED, None),
        (Retryable("x"), 1, Ending.RETRY, 2 * 1.25),
        (Retryable("x", after=7), 2, Ending.RETRY, 7),
        (Retryable("x", after=-1), 1, Ending.RETRY, 0),
        (Retryable("x", after=math.inf), 1, Ending.RETRY, LONGEST_WAIT),
        (Retryable("x", after=math.nan), 1, Ending.RETRY, 2 * 1.25),
        (Retryable("x", after="soon"), 1, Ending.RETRY, 2 * 1.25),  # type: ignore[arg-type]
        (Retryable("x", after=7), 3, Ending.FAILED, None),
        (Permanent("x"), 1, Ending.FAILED, None),
        (StepMismatch("s", "x"), 1, Ending.FAILED, None),
        (UnknownAgent("x"), 1, Ending.FAILED, None),
        (SystemExit(1), 1, Ending.RETRY, 2 * 1.25),
        (ExceptionGroup("g", [ValueError("x"), Permanent("y")]), 1, Ending.FAILED, None),
        (ExceptionGroup("g", [ExceptionGroup("h", [Retryable("x", after=9)])]), 1, Ending.RETRY, 9),
    ],
)
def test_a_failure_is_tried_again_as_its_kind_and_the_policy_say(
    error: BaseException, attempt: int, ending: Ending, wait: float | None
) -> None:
    found, retry_at, told = failed(error, attempt)

    assert found == ending
    assert retry_at == (0.0 if wait is None else NOW + wait)
    assert told["attempt"] == attempt


def test_what_began_before_a_retry_by_hand_is_numbered_on_and_not_counted() -> None:
    for used, wait in ((1, 2 * 1.25), (2, 4 * 1.25)):
        ending, retry_at, told = failed(ValueError("x"), used, attempt=3 + used)

        assert (ending, retry_at, told["attempt"]) == (Ending.RETRY, NOW + wait, 3 + used)
    assert failed(ValueError("x"), 3, attempt=6)[0] == Ending.FAILED


@pytest.mark.parametrize(
    ("error", "kind", "step"),
    [
        (ValueError("x"), "error", None),
        (MemoryError("x"), "error", None),
        (KeyboardInterrupt("x"), "error", None),
        (Retryable("x"), "retryable", None),
        (Permanent("x"), "permanent", None),
        (TimedOut("x"), "timeout", None),
        (UnknownAgent("x"), "unknown_agent", None),
        (ArtifactMissing("x"), "artifact_missing", None),
        (InvalidInput("x", ("text: missing",)), "invalid_input", None),
        (InvalidOutput("x"), "invalid_output", None),
        (StepError("draft#0", "x"), "step_error", "draft#0"),
        (StepMismatch("draft#0", "x"), "step_mismatch", "draft#0"),
        (StepOutcomeUnknown("x#0"), "step_outcome_unknown", "x#0"),
        (NeedsBackground("x"), "needs_background", None),
        (ChildFailed("x", "id", {"title": "ValueError", "detail": "no"}), "child_failed", None),
        (SignalTimeout("x"), "signal_timeout", None),
    ],
)
def test_an_error_says_its_type_its_class_and_its_step(error: BaseException, kind: str, step: str | None) -> None:
    _, _, told = failed(error)

    assert (told["type"], told["title"], told["step"]) == (kind, type(error).__name__, step)
    assert "x" in str(told["detail"])


def test_an_invalid_input_names_its_problems() -> None:
    assert failed(InvalidInput("not an input", ("text: missing", "n: not a number")))[2]["detail"] == (
        "not an input; text: missing; n: not a number"
    )


def test_an_error_that_cannot_be_printed_is_still_told() -> None:
    assert "Unprintable" in str(failed(Unprintable())[2]["detail"])


def test_what_an_error_says_is_bounded_and_fit_for_json() -> None:
    _, _, told = failed(ValueError("\ud800" + "x" * 10_000))

    assert len(str(told["detail"])) == DETAIL_LIMIT
    str(told["detail"]).encode()
