"""What a caller is told when a request cannot be answered: problem documents (RFC 9457), from one table."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from agents import MemoryConflict, NeedsBackground, Permanent, Retryable, RubatoError
from agents.artifacts import ArtifactMissing
from agents.errors import InvalidInput, NotLoadable, Overloaded
from agents.ids import new_id
from cluster.errors import Conflict, Expired, Fenced, StoreProblem, Unavailable

MEDIA_TYPE = "application/problem+json"
ERRORS = 50  # how many lines `errors` holds at most
LINE = 300  # characters of each
UNAVAILABLE = "/problems/unavailable"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer that says what is wrong and what to do; docs/problems.md explains each `type`."""

    status: int
    title: str
    detail: str
    type: str = "about:blank"
    errors: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """The document, pure ASCII: whatever the caller sent and the detail repeats, it can be encoded."""
        document: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        return json.dumps(document).encode()

    def response(self) -> Response:
        return Response(self.body(), self.status, dict(self.headers), MEDIA_TYPE)


class Refused(RubatoError):
    """The request ends here, with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def problem_of(error: BaseException) -> Problem:
    """The problem that answers `error`. Of an error that is not ours nothing is told but a reference to the log."""
    if isinstance(error, Refused):
        return error.problem
    for kind, make in _TABLE:
        if isinstance(error, kind):
            return make(error)
    return _internal(error)


def malformed(detail: str) -> Problem:
    return Problem(400, "This is not JSON that can be kept", detail, "/problems/malformed-json")


def bad_header(detail: str) -> Problem:
    return Problem(400, "A header cannot be used", detail, "/problems/invalid-header")


def no_access(detail: str, error: str = "") -> Problem:
    """401; `error` is of RFC 6750, '' where no key came."""
    said = f', error="{error}"' if error else ""
    headers = (("WWW-Authenticate", f'Bearer realm="rubato"{said}'),)
    return Problem(401, "A key is needed", detail, "/problems/no-access", headers=headers)


def forbidden(detail: str, scope: str) -> Problem:
    headers = (("WWW-Authenticate", f'Bearer realm="rubato", error="insufficient_scope", scope="{scope}"'),)
    return Problem(403, "The key does not allow this", detail, "/problems/forbidden", headers=headers)


def not_found(what: str, detail: str) -> Problem:
    """`what` is a noun, such as task."""
    return Problem(404, f"There is no such {what}", detail, f"/problems/unknown-{what}")


def conflict(detail: str, type: str = "/problems/conflict") -> Problem:
    return Problem(409, "This contradicts what there is", detail, type)


def too_large(what: str, limit: int) -> Problem:
    return Problem(413, "That is too large", f"{what} may have at most {limit} bytes.", "/problems/too-large")


def invalid_request(detail: str, errors: Sequence[str]) -> Problem:
    return Problem(422, "The request does not fit", detail, "/problems/invalid-request", _few(errors))


def invalid_input(detail: str, errors: Sequence[str]) -> Problem:
    return Problem(422, "The input does not fit the agent", detail, "/problems/invalid-input", _few(errors))


def overloaded(detail: str, retry_after: float) -> Problem:
    return Problem(429, "No room now", detail, "/problems/overloaded", headers=_retry(retry_after))


def too_often(detail: str, retry_after: float) -> Problem:
    return Problem(429, "Too many requests", detail, "/problems/rate-limited", headers=_retry(retry_after))


def must_wait(detail: str) -> Problem:
    return Problem(409, "This run must wait", detail, "/problems/needs-background")


def agent_failed(detail: str) -> Problem:
    return Problem(500, "The agent failed", detail, "/problems/agent-failed")


def unavailable(detail: str, retry_after: float = 1.0) -> Problem:
    return Problem(503, "This cannot be answered now", detail, UNAVAILABLE, headers=_retry(retry_after))


def too_late(detail: str) -> Problem:
    return Problem(504, "The answer took too long", detail, "/problems/deadline")


def _few(errors: Sequence[str]) -> tuple[str, ...]:
    """Not all of them, and none at length: a line names fields, and a caller may send any number with any name."""
    return tuple(line if len(line) <= LINE else f"{line[:LINE]}..." for line in errors[:ERRORS])


def _retry(seconds: float) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", str(max(1, math.ceil(seconds)))),)


def _sentence(error: BaseException) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _internal(error: BaseException) -> Problem:
    reference = new_id()
    log.error("unexpected error, reference %s", reference, exc_info=error)
    detail = f"Something went wrong on our side. The log of the server has it under the reference {reference}."
    return Problem(500, "Internal error", detail, "/problems/internal")


def _down(error: BaseException) -> Problem:
    """Like that of `Unavailable` their message is for the operator: it may name folders and owners."""
    log.error("the ledger is down: %s", error)
    return unavailable("The ledger is down, and its operator must look after it; nothing was changed.", 10)


def _unanswered(error: Unavailable) -> Problem:
    log.warning("the ledger did not answer: %s", error)
    return unavailable("The ledger cannot answer now. The same request may succeed later.", error.retry_after)


def _not_loadable(error: NotLoadable) -> Problem:
    log.error("not loadable: %s", error)
    return unavailable(f"The agent {error.reference} cannot be loaded; the log of the server says why.", 10)


def _missing(error: ArtifactMissing) -> Problem:
    detail = f"{_sentence(error)} Upload it with PUT /v1/artifacts, then send its reference again."
    return Problem(422, "A referenced artifact cannot be read", detail, "/problems/missing-artifact")


# The first that fits; a subclass stands before its base.
_TABLE: tuple[tuple[type[BaseException], Callable[[Any], Problem]], ...] = (
    (InvalidInput, lambda error: invalid_input(_sentence(error), error.problems)),
    (ArtifactMissing, _missing),
    (Conflict, lambda error: conflict(_sentence(error))),
    (Expired, lambda error: invalid_request(_sentence(error), ("options.deadline: has passed already",))),
    (Overloaded, lambda error: overloaded(_sentence(error), error.retry_after)),
    (Unavailable, _unanswered),
    (Fenced, _down),
    (StoreProblem, _down),
    (NotLoadable, _not_loadable),
    (MemoryConflict, lambda error: conflict(f"{_sentence(error)} Or ask again.", "/problems/memory-conflict")),
    (NeedsBackground, lambda error: must_wait(_sentence(error))),
    (Permanent, lambda error: agent_failed(str(error))),
    (Retryable, lambda error: unavailable(str(error) or "The agent asks to try again later.", error.after or 1.0)),
)
