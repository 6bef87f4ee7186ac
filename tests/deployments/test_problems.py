"""That every error becomes the problem its caller can act on, and tells nothing else."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from agents import NeedsBackground, Permanent, Retryable
from agents.artifacts import ArtifactMissing
from agents.errors import InvalidInput, NotLoadable, Overloaded, StepError
from cluster.errors import Conflict, Expired, Fenced, StoreProblem, Unavailable
from deployments.problems import Problem, Refused, invalid_input, problem_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "status", "type", "retry_after"),
    [
        (InvalidInput("no", ("text: Field required",)), 422, "/problems/invalid-input", None),
        (ArtifactMissing("no artifact"), 422, "/problems/missing-artifact", None),
        (Conflict("no"), 409, "/problems/conflict", None),
        (Expired("no"), 422, "/problems/invalid-request", None),
        (Overloaded("no", 2.1), 429, "/problems/overloaded", "3"),
        (Unavailable("no", 0.1), 503, "/problems/unavailable", "1"),
        (Fenced("no"), 503, "/problems/unavailable", "10"),
        (StoreProblem("no"), 503, "/problems/unavailable", "10"),
        (NotLoadable("shop:Support", "no"), 503, "/problems/unavailable", "10"),
        (NeedsBackground("no"), 409, "/problems/needs-background", None),
        (StepError("draft", "no"), 500, "/problems/agent-failed", None),
        (Permanent("no"), 500, "/problems/agent-failed", None),
        (Retryable("no", after=7), 503, "/problems/unavailable", "7"),
        (Refused(Problem(418, "Teapot", "no", "/problems/x")), 418, "/problems/x", None),
        (ValueError("no"), 500, "/problems/internal", None),
    ],
)
def test_the_table(error: Exception, status: int, type: str, retry_after: str | None) -> None:
    problem = problem_of(error)

    assert (problem.status, problem.type) == (status, type)
    assert dict(problem.headers).get("Retry-After") == retry_after


@pytest.mark.parametrize(
    "error",
    [
        ValueError("s3cret"),
        Unavailable("s3cret"),
        Fenced("s3cret"),
        StoreProblem("s3cret"),
        NotLoadable("a:B", "s3cret"),
    ],
)
def test_what_is_for_the_operator_goes_to_the_log_only(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        problem = problem_of(error)

    assert b"s3cret" not in problem.body()
    assert "s3cret" in caplog.text


def test_an_unknown_error_is_logged_under_the_reference_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    problem = problem_of(RuntimeError("s3cret"))

    reference = problem.detail.split()[-1].rstrip(".")
    assert f"reference {reference}" in caplog.text
    assert "Traceback" in caplog.text or "RuntimeError" in caplog.text


def test_a_body_is_ascii_whatever_the_detail_repeats() -> None:
    body = Problem(404, "no", 'a "ü" \ud800 \0').body()

    assert body.isascii()
    assert json.loads(body)["detail"] == 'a "ü" \ud800 \0'


def test_a_problem_without_errors_says_nothing_of_them() -> None:
    assert json.loads(Problem(404, "no", "none").body()) == {
        "type": "about:blank",
        "title": "no",
        "status": 404,
        "detail": "none",
    }


def test_a_response_carries_the_headers_and_the_media_type() -> None:
    response = Problem(429, "no", "none", headers=(("Retry-After", "1"),)).response()

    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.headers["content-type"] == "application/problem+json"


def test_errors_are_few_and_short() -> None:
    problem = invalid_input("no", ["x" * 10_000] * 1000)

    assert len(problem.errors) == 50
    assert len(problem.body()) < 20_000


def test_every_type_is_explained_and_no_other() -> None:
    page = (ROOT / "docs" / "problems.md").read_text()
    explained = {line.split("`")[1] for line in page.splitlines() if line.startswith("## ")}
    sources = "".join(path.read_text() for path in (ROOT / "deployments").rglob("*.py"))

    types = set(re.findall(r'"(/problems/[a-z-]+)"', sources))
    types |= {f"/problems/unknown-{what}" for what in re.findall(r'not_found\("([a-z]+)"', sources)}

    assert explained == types
