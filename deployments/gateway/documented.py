"""How routes are written into /openapi.json, each agent's own types included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from agents import values
from agents.agent import input_type, output_type
from agents.catalog import Catalog

from ..access import READS, SUBMITS, Need
from ..problems import MEDIA_TYPE
from . import forms, key_forms, schedule_forms, schemas
from .routing import PlainRoute

Json = dict[str, Any]
Kind = type[BaseModel] | str | tuple[str, ...] | None  # a JSON document, other media types, or no content

COMPONENTS = "#/components/schemas/"
BEARER = "key"
SCHEMES = {BEARER: {"type": "http", "scheme": "bearer", "description": "An API key; the roles are its scopes."}}
OF_ANY = (422, 500)  # any route refuses a query it does not know
OF_KEYS = (401, 403, 429, 503)
REQUESTS = (
    forms.NewTask,
    forms.NewBatch,
    forms.Fork,
    forms.CancelFilter,
    forms.RetryFilter,
    forms.NewLimit,
    forms.Pause,
    schedule_forms.NewSchedule,
    key_forms.NewKey,
)
ANSWERS = (
    schemas.AgentList,
    schemas.Artifact,
    schemas.Batch,
    schemas.BatchCounts,
    schemas.Event,
    schemas.Health,
    key_forms.KeyList,
    key_forms.MadeKey,
    schemas.Index,
    schemas.LimitList,
    schemas.LogLine,
    schemas.Matched,
    schemas.Paused,
    schemas.Problem,
    schemas.Result,
    schedule_forms.ScheduleList,
    schemas.StepList,
    schemas.TaskList,
)


def parameter(name: str, place: Literal["path", "query", "header"], schema: Json, description: str = "") -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


TEXT = {"type": "string"}
TASK_ID = parameter("id", "path", {"type": "string", "format": "uuid"})
NAME = parameter("name", "path", TEXT)
BATCH_ID = parameter("id", "path", {"type": "string", "format": "uuid"}, "The batch's.")
LIMIT_KEY = parameter(
    "limit_key", "path", {**TEXT, "minLength": 1}, "A limit key, or `agent:NAME` for all tasks of an agent."
)
SHA256 = parameter("sha256", "path", {"type": "string", "pattern": "^[0-9a-f]{64}$"})
KEY = parameter("Idempotency-Key", "header", {**TEXT, "minLength": 1, "maxLength": 255}, "Sent twice, done once.")
SESSION = parameter(
    "session", "query", {**TEXT, "minLength": 1, "maxLength": 255}, "Whose memory the run reads and writes."
)
PREFER = parameter("Prefer", "header", TEXT, "RFC 7240: `wait=S`, at most 300, and for runs `respond-async`.")
LAST_EVENT = parameter("Last-Event-ID", "header", {"type": "integer", "minimum": 0}, "The last event that was seen.")
DISPOSITION = parameter("Content-Disposition", "header", TEXT, "Its filename is the name, unless `name` is given.")


@cache
def queries(form: type[BaseModel]) -> tuple[Json, ...]:
    """The fields of a form as query parameters."""
    schema = form.model_json_schema(ref_template=COMPONENTS + "{model}")
    return tuple(parameter(name, "query", field) for name, field in schema["properties"].items())


def route(
    app: FastAPI,
    line: str,
    endpoint: Callable[[Request], Awaitable[Response]],
    summary: str,
    *parameters: Json,
    answers: Mapping[int, Kind],
    problems: Iterable[int] = (),
    body: Kind = None,
    needs_body: bool = True,
    need: Need | Literal["open", "usual"] = "usual",
) -> None:
    """Add a route, such as `GET /v1/tasks`, and its description; the first answer is the one to expect.

    `need` is what it asks of its caller: usually to look takes any key, and to change something the scope submit.
    """
    method, path = line.split()
    needed = _need(method, need)
    extra: Json = {"parameters": [*parameters], "security": _security(needed)}
    if body is not None:
        extra["requestBody"] = {"required": needs_body, "content": _content(body)}
    responses: dict[int | str, Json] = {}
    for status, kind in answers.items():
        responses[status] = {"content": _content(kind)} if kind else {}
    for status in sorted({*problems, *OF_ANY, *(() if needed is None else OF_KEYS)}):
        responses[status] = {"content": {MEDIA_TYPE: {"schema": _reference("Problem")}}}
    if method == "HEAD":
        responses = {status: {} for status in responses}
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        summary=summary,
        status_code=next(iter(answers)),
        responses=responses,
        response_class=Response,
        openapi_extra=extra,
    )
    added = app.routes[-1]
    assert isinstance(added, PlainRoute)
    added.need = needed


def _need(method: str, need: Need | Literal["open", "usual"]) -> Need | None:
    if need == "usual":
        return READS if method in ("GET", "HEAD") else SUBMITS
    return None if need == "open" else need


def _security(need: Need | None) -> list[Json]:
    """Any of these will do."""
    return [] if need is None else [{BEARER: [scope]} for scope in sorted(need.scopes)] or [{BEARER: []}]


def describe_all(app: FastAPI, catalog: Catalog) -> None:
    """Let /openapi.json tell of the app's routes and, by name, of each agent's run."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            paths, components = _of_agents(catalog, made["paths"]["/v1/agents/{name}/run"]["post"])
            made["paths"] |= paths
            made["components"] = {"schemas": _of_gateway() | components, "securitySchemes": SCHEMES}
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _of_gateway() -> Json:
    models = [(model, "validation") for model in REQUESTS] + [(model, "serialization") for model in ANSWERS]
    _, schema = models_json_schema(models, ref_template=COMPONENTS + "{model}")  # type: ignore[arg-type]
    definitions: Json = schema["$defs"]
    return definitions


def _of_agents(catalog: Catalog, run: Json) -> tuple[Json, Json]:
    """Each agent's run as a path of its own, and the schemas of their types, under names that cannot be ours."""
    kinds: list[tuple[tuple[str, str], Any, TypeAdapter[Any]]] = []
    for name, entry in catalog.items():
        kinds.append(((name, "input"), "validation", values.adapter(input_type(entry.agent))))
        kinds.append(((name, "output"), "serialization", values.adapter(output_type(entry.agent))))
    schemas_of, definitions = TypeAdapter.json_schemas(kinds, ref_template=COMPONENTS + "agents.{model}")
    paths = {}
    for name in catalog:
        taken = {"application/json": {"schema": schemas_of[(name, "input"), "validation"]}}
        given = {"application/json": {"schema": schemas_of[(name, "output"), "serialization"]}}
        mine = {
            **run,
            "summary": f"Run {name}",
            "operationId": f"run_{name}",
            "parameters": [parameter for parameter in run["parameters"] if parameter["in"] != "path"],
            "requestBody": {"required": True, "content": taken},
            "responses": {**run["responses"], "200": {"description": "The output", "content": given}},
        }
        paths[f"/v1/agents/{name}/run"] = {"post": mine}
    return paths, {f"agents.{name}": schema for name, schema in definitions.get("$defs", {}).items()}


def _content(kind: type[BaseModel] | str | tuple[str, ...]) -> Json:
    if isinstance(kind, str):
        return {kind: {"schema": {}}}
    if isinstance(kind, tuple):
        return {each: {"schema": {}} for each in kind}
    return {"application/json": {"schema": _reference(kind.__name__)}}


def _reference(name: str) -> Json:
    return {"$ref": COMPONENTS + name}
