"""Every answer of the gateway is held against what its /openapi.json says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from starlette.routing import Match

from deployments.problems import MEDIA_TYPE

PROBLEM_FIELDS = {"type", "title", "status", "detail", "errors"}


def checking(app: FastAPI) -> Callable[[httpx.Response], Coroutine[Any, Any, None]]:
    """A hook for an httpx client that raises AssertionError for an answer that is not as documented."""

    async def check(response: httpx.Response) -> None:
        await response.aread()
        if response.status_code >= 400 and response.request.method != "HEAD":
            _check_problem(response)
        documented = _documented(app, response)
        if documented is not None:
            _check_content(app.openapi(), documented, response)

    return check


def _check_problem(response: httpx.Response) -> None:
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = response.json()
    assert problem.keys() <= PROBLEM_FIELDS
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in response.text


def _documented(app: FastAPI, response: httpx.Response) -> dict[str, Any] | None:
    """What /openapi.json says of this answer; None where no route took the request."""
    method, path = response.request.method, response.request.url.path
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.matches(scope)[0] == Match.FULL:
            operation = app.openapi()["paths"][route.path_format][method.lower()]
            documented: dict[str, Any] = operation["responses"][str(response.status_code)]
            return documented
    return None


def _check_content(document: dict[str, Any], documented: dict[str, Any], response: httpx.Response) -> None:
    if not response.content:
        assert response.status_code == 204 or "application/json" not in documented.get("content", {})
        return
    media_type = response.headers["content-type"].partition(";")[0]
    schema = documented["content"][media_type]["schema"]
    if media_type.endswith("json"):
        validate(document, schema, response.text)


def validate(document: dict[str, Any], schema: dict[str, Any], text: str) -> None:
    """Raises where this JSON does not fit a schema of the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(json.loads(text))
