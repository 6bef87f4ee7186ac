"""The gateway: every route that is not one agent's own, in one application at `/`."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from agents.artifacts import ArtifactStore
from agents.catalog import Catalog
from cluster.client import LedgerClient

from .. import sse
from ..access import ADMINISTERS, OPERATES, RUNS, UPLOADS
from ..bodies import Limits
from . import documented as doc
from . import forms, schemas
from .accepting import Accepting
from .answers import JSON_LINES
from .artifacts import Artifacts
from .batches import Batches
from .departure import Departure
from .health import Health
from .keys import ApiKeys, add_keys
from .limits import LimitKeys
from .metrics import OPEN, PLAIN, Metrics
from .routing import PlainApp, PlainRoute, answer_in_problems
from .runs import Runs
from .schedules import Schedules, add_schedules
from .services import Logs, Services
from .steering import Steering
from .streams import Streams
from .tasks import Tasks


def gateway_app(
    catalog: Catalog,
    ledger: LedgerClient,
    artifacts: Callable[[str], ArtifactStore],
    logs: Logs,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    heartbeat: float = sse.HEARTBEAT,
) -> PlainApp:
    """The application. `artifacts` and `logs` find a tenant's bytes, and what a task's code has said."""
    departure = Departure()
    services = Services(catalog, ledger, artifacts, logs, limits, heartbeat, departure)
    app = PlainApp(title="Rubato", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.leave = departure.begin
    app.router.route_class = PlainRoute
    accepting = Accepting(services)
    tasks = Tasks(services)
    _add_accepting(app, accepting)  # first, for a request is held against one route after the other
    _add_tasks(app, tasks)
    steering = Steering(services)
    _add_steering(app, steering)
    _add_steering_of_many(app, steering)
    _add_accounts(app, tasks, Streams(services))
    _add_batches(app, Batches(services))
    _add_limits(app, LimitKeys(services))
    _add_agents(app, Runs(services, accepting))
    add_schedules(app, Schedules(services, accepting))
    add_keys(app, ApiKeys(services))
    _add_artifacts(app, Artifacts(services))
    _add_operations(app, Health(app, ledger), Metrics(services))
    answer_in_problems(app)
    doc.describe_all(app, catalog)
    return app


def _add_agents(app: FastAPI, runs: Runs) -> None:
    doc.route(app, "GET /v1/agents", runs.many, "All agents", answers={200: schemas.AgentList})
    doc.route(
        app, "GET /v1/agents/{name}", runs.one, "One agent", doc.NAME, answers={200: schemas.Agent}, problems=[404]
    )
    doc.route(
        app,
        "POST /v1/agents/{name}/run",
        runs.run,
        "Run an agent",
        *(doc.NAME, doc.SESSION, doc.PREFER, doc.KEY),
        body="application/json",
        answers={200: "application/json", 202: schemas.Task},
        problems=[400, 404, 409, 413, 429, 503, 504],
        need=RUNS,
    )

    doc.route(
        app,
        "POST /v1/agents/{name}/pause",
        runs.pause,
        "Start no more tasks of an agent",
        doc.NAME,
        body=forms.Pause,
        needs_body=False,
        answers={200: schemas.Paused},
        problems=[400, 404, 409, 413, 503],
        need=OPERATES,
    )
    doc.route(
        app,
        "POST /v1/agents/{name}/resume",
        runs.resume,
        "Start an agent's tasks again",
        doc.NAME,
        answers={200: schemas.Paused},
        problems=[400, 404, 409, 413, 503],
        need=OPERATES,
    )


def _add_accepting(app: FastAPI, accepting: Accepting) -> None:
    problems = [400, 404, 409, 413, 429, 503]
    doc.route(
        app,
        "POST /v1/tasks",
        accepting.task,
        "Create a task",
        *(doc.PREFER, doc.KEY),
        body=forms.NewTask,
        answers={202: schemas.Task, 200: schemas.Task},
        problems=problems,
    )
    doc.route(
        app,
        "POST /v1/tasks/batch",
        accepting.batch,
        "Create many tasks of one agent",
        doc.KEY,
        body=forms.NewBatch,
        answers={202: schemas.Batch},
        problems=problems,
    )


def _add_tasks(app: FastAPI, tasks: Tasks) -> None:
    doc.route(
        app,
        "GET /v1/tasks",
        tasks.many,
        "Tasks, newest first",
        *doc.queries(forms.ListQuery),
        answers={200: schemas.TaskList},
        problems=[503],
    )
    doc.route(
        app,
        "GET /v1/tasks/{id}",
        tasks.one,
        "One task",
        *(doc.TASK_ID, doc.PREFER),
        answers={200: schemas.Task},
        problems=[404, 503],
    )


def _add_steering(app: FastAPI, steering: Steering) -> None:
    problems = [400, 404, 409, 413, 429, 503]
    doc.route(
        app,
        "POST /v1/tasks/{id}/cancel",
        steering.cancel,
        "Cancel a task",
        doc.TASK_ID,
        answers={200: schemas.Task},
        problems=[400, 404, 409, 413, 503],
    )
    doc.route(
        app,
        "POST /v1/tasks/{id}/retry",
        steering.retry,
        "Queue a task that failed or was canceled once more, with all its attempts and what it has recorded",
        *(doc.TASK_ID, doc.KEY),
        answers={202: schemas.Task},
        problems=problems,
    )
    doc.route(
        app,
        "POST /v1/tasks/{id}/fork",
        steering.fork,
        "A new task that goes on from a recorded step of this one",
        *(doc.TASK_ID, doc.KEY),
        body=forms.Fork,
        answers={202: schemas.Task},
        problems=problems,
    )
    doc.route(
        app,
        "POST /v1/tasks/{id}/signals/{name:path}",
        steering.signal,
        "Send a task a signal, which its next wait for one of that name takes",
        *(doc.TASK_ID, doc.NAME, doc.KEY),
        body="application/json",
        needs_body=False,
        answers={202: schemas.Task},
        problems=problems,
    )


def _add_steering_of_many(app: FastAPI, steering: Steering) -> None:
    problems = [400, 413, 503]
    doc.route(
        app,
        "POST /v1/tasks/cancel",
        steering.cancel_all,
        "Cancel all tasks that match",
        body=forms.CancelFilter,
        answers={200: schemas.Matched},
        problems=problems,
    )
    doc.route(
        app,
        "POST /v1/tasks/retry",
        steering.retry_all,
        "Retry all tasks that match",
        body=forms.RetryFilter,
        answers={200: schemas.Matched},
        problems=problems,
    )


def _add_accounts(app: FastAPI, tasks: Tasks, streams: Streams) -> None:
    doc.route(
        app,
        "GET /v1/tasks/{id}/steps",
        tasks.steps,
        "A task's journal",
        doc.TASK_ID,
        *doc.queries(forms.StepsQuery),
        answers={200: schemas.StepList},
        problems=[404, 503],
    )
    doc.route(
        app,
        "GET /v1/tasks/{id}/logs",
        tasks.logs,
        "What a task's code logged: a LogLine on each line",
        doc.TASK_ID,
        answers={200: JSON_LINES},
        problems=[404, 503],
    )
    doc.route(
        app,
        "GET /v1/tasks/{id}/events",
        streams.events,
        "A task's events as they are committed: an Event in each `data:`",
        *(doc.TASK_ID, doc.LAST_EVENT),
        answers={200: sse.MEDIA_TYPE, 204: None},
        problems=[400, 404, 503],
    )


def _add_batches(app: FastAPI, batches: Batches) -> None:
    doc.route(
        app,
        "GET /v1/batches/{id}",
        batches.one,
        "How far a batch is",
        doc.BATCH_ID,
        answers={200: schemas.BatchCounts},
        problems=[404, 503],
    )
    doc.route(
        app,
        "POST /v1/batches/{id}/cancel",
        batches.cancel,
        "Cancel what has not ended of a batch",
        doc.BATCH_ID,
        answers={200: schemas.Matched},
        problems=[400, 404, 413, 503],
    )
    doc.route(
        app,
        "GET /v1/batches/{id}/results",
        batches.results,
        "What has come of each task of a batch, in the order of its inputs: a Result on each line",
        doc.BATCH_ID,
        answers={200: JSON_LINES},
        problems=[404, 503],
    )


def _add_limits(app: FastAPI, limits: LimitKeys) -> None:
    doc.route(
        app,
        "GET /v1/limits",
        limits.many,
        "The keys that have limits",
        *doc.queries(forms.LimitQuery),
        answers={200: schemas.LimitList},
        problems=[503],
    )
    doc.route(
        app,
        "GET /v1/limits/{limit_key:path}",
        limits.one,
        "The limits of a key",
        doc.LIMIT_KEY,
        answers={200: schemas.Limit},
        problems=[404, 503],
    )
    doc.route(
        app,
        "PUT /v1/limits/{limit_key:path}",
        limits.put,
        "Set the limits of a key, all of them",
        doc.LIMIT_KEY,
        body=forms.NewLimit,
        answers={200: schemas.Limit},
        problems=[400, 404, 413, 503],
        need=ADMINISTERS,
    )


def _add_artifacts(app: FastAPI, artifacts: Artifacts) -> None:
    doc.route(
        app,
        "PUT /v1/artifacts",
        artifacts.put,
        "Keep bytes",
        *(*doc.queries(forms.UploadQuery), doc.DISPOSITION),
        body="application/octet-stream",
        answers={201: schemas.Artifact},
        problems=[400, 413],
        need=UPLOADS,
    )
    doc.route(
        app,
        "GET /v1/artifacts/{sha256}",
        artifacts.get,
        "The bytes",
        doc.SHA256,
        answers={200: "application/octet-stream"},
        problems=[404],
    )


def _add_operations(app: FastAPI, health: Health, metrics: Metrics) -> None:
    doc.route(app, "GET /", health.index, "What is here", answers={200: schemas.Index})
    for method in ("GET", "HEAD"):  # some load balancers ask without wanting to know more than the status
        works, accepts = "Whether this process works", "Whether tasks can be accepted"
        healthy = {200: schemas.Health}
        doc.route(app, f"{method} /healthz", health.alive, works, answers=healthy, need="open")
        doc.route(app, f"{method} /readyz", health.ready, accepts, answers=healthy, problems=[503], need="open")
    scraped = {200: (PLAIN, OPEN)}
    doc.route(app, "GET /metrics", metrics.scrape, "Metrics for Prometheus", answers=scraped, need=OPERATES)
