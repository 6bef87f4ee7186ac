"""Which session a request is a turn of."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Scope

from agents.journal import KEY_LIMIT

from ..problems import Problem, Refused
from .forms import refuse_query

QUERY = frozenset(["session"])


def session_of(scope: Scope) -> str | None:
    """The session that the query names, None where it names none. Raises Refused for one that cannot be, and for any
    other parameter."""
    if not scope["query_string"]:
        return None
    request = Request({**scope, "type": "http"})  # a socket's query is read as a request's is
    refuse_query(request, QUERY)
    session = request.query_params.get("session")
    if session is not None:
        check(session)
    return session


def check(session: str) -> None:
    """Raises Refused (400) where this cannot be a session's id."""
    if not session.isprintable() or not 1 <= len(session.encode()) <= KEY_LIMIT:
        detail = f"The id of a session has 1 to {KEY_LIMIT} bytes, and each character can be printed."
        raise Refused(Problem(400, "That cannot be the id of a session", detail, "/problems/invalid-session"))


def keyed_by(agent: str, session: str | None) -> str:
    """The route that an Idempotency-Key of a run belongs to: in another session it is another."""
    return f"{agent}/run" if session is None else f"{agent}/run?session={session}"
