"""One agent over HTTP, while its caller waits: a plain ASGI application, one per agent."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from agents import Agent, Realtime, values
from agents.agent import read_input
from agents.artifacts import ArtifactStore
from agents.catalog import Entry
from agents.errors import InvalidInput
from agents.ids import derived_id, new_id
from cluster.client import LedgerClient

from . import bodies
from .cachecontrol import oldest_taken
from .describe import describe
from .gateway.forms import refuse_query
from .gateway.headers import idempotency_key
from .gateway.pausing import pause, resume
from .ladder import Rung
from .live import Ask, LiveRuns, Load, Told, problem_of_run
from .prefer import preference
from .problems import Problem, not_found, problem_of
from .streaming import Headers, stream

INPUT_LIMIT = bodies.Limits().input
THREADS = 256  # plain steps at once; a step that hangs keeps its thread, so there are many
TENANT = ""

Pausing = Callable[[LedgerClient, Entry, Request], Awaitable[Response]]

PAUSING: dict[str, Pausing] = {"/pause": pause, "/resume": resume}

JSON: Headers = [(b"content-type", b"application/json")]
KINDS = {rung: (b"answer", rung.value.encode()) for rung in Rung}


class Replica:
    """The agent's own application: `GET` describes it, `POST /run` runs it, `POST /pause` and `/resume` hold up and let
    go its tasks in the background, everything else is a problem."""

    def __init__(
        self,
        entry: Entry,
        agent: Agent[Any, Any],
        policy: Realtime,
        artifacts: ArtifactStore,
        ledger: LedgerClient,
        limit: int = INPUT_LIMIT,
    ) -> None:
        self._entry = entry
        self._agent = entry.agent
        self._ledger = ledger
        self._limit = limit
        self._route = f"/v1/agents/{entry.name}"
        self._description = json.dumps(describe(entry)).encode()
        self._policy = policy
        self._runs = LiveRuns(agent, policy, artifacts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "there is no such session"})

    @property
    def abandoned(self) -> int:
        """How many runs go on that nobody waits for."""
        return self._runs.abandoned

    @property
    def load(self) -> Load:
        """What there is to do now."""
        return self._runs.load

    def check_health(self) -> None:
        """Raises where runs that nobody waits for, and that hang in plain steps, hold every slot: this replica should
        be replaced."""
        if self.abandoned >= self._policy.slots:
            raise RuntimeError(f"{self.abandoned} runs hang in plain steps that nobody waits for")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="step")
        asyncio.get_running_loop().set_default_executor(threads)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._runs.close()
        threads.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if route == "/run" and scope["method"] == "POST":
            await self._run(scope, receive, send)
        elif route in PAUSING and scope["method"] == "POST":
            await self._hold_up(PAUSING[route], scope, receive, send)
        elif route == "/run" or route in PAUSING:
            await _refuse(_not_allowed(scope["method"], "POST"), scope, receive, send)
        elif route not in ("", "/"):
            detail = f"{scope['path']} leads nowhere; POST {self._route}/run runs the agent."
            await _refuse(not_found("route", detail), scope, receive, send)
        elif scope["method"] == "GET":
            await _reply(send, self._description, JSON)
        else:
            await _refuse(_not_allowed(scope["method"], "GET"), scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        task_id = told = problem = None
        headers = dict(scope["headers"])
        live = b"text/event-stream" in headers.get(b"accept", b"")
        try:
            task_id = self._task_id(scope) if b"idempotency-key" in headers else new_id()
            ask = self._ask(scope, headers, task_id, self._input(await _body(scope, receive, self._limit)))
            if not live:
                told = await self._runs.answer(ask)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            problem = problem_of_run(error)
        else:
            if told is None:
                problem = await stream(self._runs, ask, send, [(b"task-id", task_id.encode())])
            else:
                await _reply(send, told.output, [*JSON, *_about(told, ask)])
        if problem is not None:
            await _refuse(_known_as(problem, task_id), scope, receive, send)

    def _ask(self, scope: Scope, headers: dict[bytes, bytes], task_id: str, given: Any) -> Ask:
        """What the caller wants, of an input that was read."""
        patience, keeps = self._policy.deadline, self._policy.cache_ttl > 0
        if b"prefer" in headers:
            wait = preference(_values(scope, b"prefer")).wait
            patience = patience if wait is None else min(patience, wait)
        if not keeps:
            return Ask(task_id, given, patience)
        oldest = oldest_taken(_values(scope, b"cache-control")) if b"cache-control" in headers else math.inf
        joins = oldest > 0 and b"idempotency-key" not in headers
        return Ask(task_id, given, patience, values.digest((TENANT, given)), oldest, joins)

    async def _hold_up(self, how: Pausing, scope: Scope, receive: Receive, send: Send) -> None:
        """As the gateway does it for agents that have no application of their own."""
        request = Request(scope, receive)
        try:
            refuse_query(request, frozenset())
            answer = await how(self._ledger, self._entry, request)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            answer = problem_of(error).response()
        await answer(scope, receive, send)

    def _task_id(self, scope: Scope) -> str:
        """The id that the caller's key fixes."""
        return derived_id(TENANT, f"{self._route}/run", idempotency_key(Request(scope)))

    def _input(self, body: bytes) -> Any:
        """The input in the body, parsed once where nothing is wrong with it."""
        try:
            given = read_input(self._agent, body)
        except InvalidInput:
            bodies.parse(body)  # says so where it is not even JSON
            raise
        if b"\\u0000" in body:
            bodies.parse(body)
        return given


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; most come in one piece, and need no more than this."""
    first = await receive()
    body: bytes = first.get("body", b"")
    if first["type"] == "http.request" and not first.get("more_body") and len(body) <= limit:
        return body
    return await bodies.read(Request(scope, _again(first, receive)), limit, "The input")


def _again(first: Message, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """`receive`, with a message that was already taken before what comes next."""
    ahead = [first]

    async def next_message() -> Message:
        return ahead.pop() if ahead else await receive()

    return next_message


async def _reply(send: Send, body: bytes, headers: Headers) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await problem.response()(scope, receive, send)


def _about(told: Told, ask: Ask) -> Headers:
    """What is said of an answer besides the answer: which kind it is, and whose it was, how long ago."""
    about = [(b"task-id", (told.task_id if ask.joins else ask.task_id).encode()), KINDS[told.rung]]
    if told.age is not None:
        about.append((b"age", b"%d" % told.age))
    return about


def _values(scope: Scope, name: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for header, value in scope["headers"] if header == name)


def _known_as(problem: Problem, task_id: str | None) -> Problem:
    return problem if task_id is None else replace(problem, headers=(*problem.headers, ("Task-Id", task_id)))


def _not_allowed(method: str, allowed: str) -> Problem:
    return Problem(405, "This route has another method", f"{method} is not served here.", headers=(("Allow", allowed),))
