"""How a route is served: its endpoint reads the request itself, and whatever it raises becomes a problem document."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from ..problems import Problem, not_found, problem_of
from .forms import refuse_query


class PlainRoute(APIRoute):
    """A FastAPI route by its documentation only: no dependencies, no parsing, so nothing is done twice.

    The query parameters that it documents are those it accepts.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        parameters = (self.openapi_extra or {}).get("parameters", ())
        known = frozenset(parameter["name"] for parameter in parameters if parameter["in"] == "query")

        async def handle(request: Request) -> Response:
            try:
                refuse_query(request, known)
                answer: Response = await self.endpoint(request)
                return answer
            except Exception as error:  # noqa: BLE001 - an agent's types may raise anything, and no trace may leave
                return problem_of(error).response()

        return handle


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
