"""How a route is served: its endpoint reads the request itself, and whatever it raises becomes a problem document."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ..access import OPERATES, Need, caller_of, demand
from ..problems import Problem, not_found, problem_of
from .forms import refuse_query

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class PlainApp(FastAPI):
    """An application of plain routes. Those without parameters in their path are called straight away: the layers that
    a request would go through take as long as the answer itself, and find nothing left to do.

    `leave` is to be called, with a reason, when the process is to end.
    """

    leave: Callable[[str], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handle = self._straight.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handle is None or scope.get("root_path"):
            await super().__call__(scope, receive, send)
        else:
            answer = await handle(Request(scope, receive, send))
            await answer(scope, receive, send)

    @cached_property
    def _straight(self) -> dict[tuple[str, str], Handle]:
        """By method and path; to be asked for once all routes are there."""
        plain = (route for route in self.routes if isinstance(route, PlainRoute) and "{" not in route.path)
        return {(method, route.path): route.handle_request for route in plain for method in route.methods or ()}


class PlainRoute(APIRoute):
    """A FastAPI route by its documentation only: no dependencies, no parsing, so nothing is done twice.

    The query parameters that it documents are those it accepts. `need` is what it asks of its caller, None where it is
    open to everybody.
    """

    need: Need | None = OPERATES  # until it is said

    def get_route_handler(self) -> Handle:
        return self.handle_request

    async def handle_request(self, request: Request) -> Response:
        """The endpoint's answer, or the problem that it raised; to a HEAD without what it would say."""
        try:
            if self.need is not None:
                demand(caller_of(request.scope), self.need)
            refuse_query(request, self._known)
            answer: Response = await self.endpoint(request)
        except Exception as error:  # noqa: BLE001 - an agent's types may raise anything, and no trace may leave
            answer = problem_of(error).response()
        if request.method == "HEAD":
            answer.body = b""
        return answer

    @cached_property
    def _known(self) -> frozenset[str]:
        parameters = (self.openapi_extra or {}).get("parameters", ())
        return frozenset(parameter["name"] for parameter in parameters if parameter["in"] == "query")


def answer_in_problems(app: FastAPI) -> None:
    """Let requests that no route takes end in problem documents too."""

    async def refuse(request: Request, error: Exception) -> Response:
        return _unrouted(app, request, error).response()

    app.add_exception_handler(HTTPException, refuse)


def _unrouted(app: FastAPI, request: Request, error: Exception) -> Problem:
    if not isinstance(error, HTTPException):
        return problem_of(error)
    asked = f"{request.method} {request.url.path[:200]}"
    if error.status_code == HTTPStatus.NOT_FOUND:
        return not_found("route", f"There is no {asked}; GET / lists the routes there are.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(_methods(app, request)))
        detail = f"There is no {asked}; {request.url.path[:200]} takes {allowed}."
        return Problem(405, "Another method, please", detail, "/problems/wrong-method", headers=(("Allow", allowed),))
    return Problem(error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))


def _methods(app: FastAPI, request: Request) -> set[str]:
    """All methods of the path; the router itself knows only those of the first route that fits."""
    fitting = (route for route in app.routes if route.matches(request.scope)[0] != Match.NONE)
    return {method for route in fitting for method in getattr(route, "methods", None) or ()}
