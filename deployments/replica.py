"""One agent over HTTP, while its caller waits: a plain ASGI application, one per agent."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from agents import Agent, Realtime, values
from agents.agent import input_type, read_input
from agents.artifacts import ArtifactStore
from agents.catalog import Entry
from agents.errors import InvalidInput
from agents.ids import derived_id, new_id
from cluster.claims import HolderLink
from cluster.client import LedgerClient
from cluster.holder import Holder
from cluster.task import Options, Submission, Task, extra_json

from . import again, bodies
from .access import caller_of, check_again
from .cachecontrol import oldest_taken
from .conversations import POLICY, Conversation, Desk
from .describe import describe
from .frames import UNREAD, Input
from .gateway.answers import accepted
from .gateway.forms import refuse_query
from .gateway.headers import idempotency_key
from .gateway.pausing import pause, resume
from .gateway.sessions import keyed_by, session_of
from .gateway.submitting import Order, submission
from .ladder import Rung
from .live import LiveRuns, Load, Told, problem_of_run
from .measures import Measures, Unmeasured
from .prefer import NONE, TIMEOUT, Preference, applied, before_serve, preference
from .problems import Problem, Refused, not_found, problem_of
from .promotion import Promoter, Unconfirmed
from .runs import Ask
from .streaming import Headers, stream
from .subagents import Nobody, Reach, SubAsk, SubTold, told_of

INPUT_LIMIT = bodies.Limits().input
THREADS = 256  # plain steps at once; a step that hangs keeps its thread, so there are many

Pausing = Callable[[LedgerClient, Entry, Request], Awaitable[Response]]

PAUSING: dict[str, Pausing] = {"/pause": pause, "/resume": resume}

JSON: Headers = [(b"content-type", b"application/json")]
KINDS = {rung: (b"answer", rung.value.encode()) for rung in Rung}


class Links(NamedTuple):
    """What a replica is connected to: the ledger, as clients and as those see it that have runs of their own; the
    replicas of other agents; and whoever counts."""

    ledger: LedgerClient
    holder: HolderLink
    reach: Reach = Nobody()
    measures: Measures = Unmeasured()


class Replica:
    """The agent's own application: `GET` describes it, `POST /run` runs it, `POST /pause` and `/resume` hold up and let
    go its tasks in the background, everything else is a problem."""

    def __init__(
        self,
        entry: Entry,
        agent: Agent[Any, Any],
        policy: Realtime,
        artifacts: Callable[[str], ArtifactStore],
        links: Links,
        limit: int = INPUT_LIMIT,
    ) -> None:
        """`artifacts` finds those of a tenant."""
        self._entry = entry
        self._agent = entry.agent
        self._ledger = ledger = links.ledger
        self._limit = limit
        self._route = f"/v1/agents/{entry.name}"
        self._description = json.dumps(describe(entry)).encode()
        self._policy = policy
        self._promoter = Promoter(entry.agent, ledger, Holder(new_id(), links.holder))
        self._runs = LiveRuns(agent, policy, artifacts, self._promoter, ledger, links.reach, links.measures)
        self._desk = Desk(self._runs, policy.on_message, input_type(entry.agent))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._converse(scope, receive, send)

    @property
    def abandoned(self) -> int:
        """How many runs go on that nobody waits for."""
        return self._runs.abandoned

    @property
    def load(self) -> Load:
        """What there is to do now."""
        return self._runs.load

    def leave(self, reason: str) -> None:
        """Have all runs that may do so go on in the background."""
        self._runs.leave(reason)
        self._desk.leave()

    def leave_run(self, task_id: str) -> None:
        """Have this run do so, if it is here."""
        self._runs.leave_run(task_id)

    async def sub(self, asked: SubAsk) -> SubTold:
        """Answer the run of another agent."""
        try:
            told = await self._runs.answer(self._sub_ask(asked))
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            return told_of(problem_of_run(error))
        return SubTold(told.output.decode())

    def _sub_ask(self, asked: SubAsk) -> Ask:
        policy, given = self._policy, read_input(self._agent, asked.input)
        key = values.digest((asked.tenant, given, None)) if policy.cache_ttl > 0 else ""
        task = self._child(asked) if asked.may_leave and self._agent.background else None
        patience = min(policy.deadline, asked.seconds)
        joins = bool(key) and task is None
        ask = Ask(asked.task_id, given, patience, key, joins=joins, task=task)
        return ask._replace(tenant=asked.tenant, depth=asked.origin.depth)

    def _child(self, asked: SubAsk) -> Submission:
        """The task that a run for another agent's run may become: its child."""
        policy = self._agent.background
        assert policy is not None, "only such an agent's run leaves"
        origin = extra_json(origin=asked.origin)
        fixed = (0, "[]", None, policy.max_attempts, policy.timeout, time.time())
        task = Task(asked.tenant, asked.task_id, self._entry.name, self._entry.version, asked.input, *fixed)
        return Submission(asked.tenant, "", (task._replace(parent_id=asked.parent, extra=origin),))

    def check_health(self) -> None:
        """Raises where runs that nobody waits for, and that hang in plain steps, hold every slot: this replica should
        be replaced."""
        if self.abandoned >= self._policy.slots:
            raise RuntimeError(f"{self.abandoned} runs hang in plain steps that nobody waits for")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="step")
        asyncio.get_running_loop().set_default_executor(threads)
        watching = asyncio.create_task(self._runs.watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watching.cancel()
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

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The turns of a session, over a WebSocket."""
        route: str = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if route != "/session":
                raise Refused(not_found("route", f"The WebSocket of a session is {self._route}/session."))
            caller, session = caller_of(scope), session_of(scope) or new_id()
        except Refused as refused:
            await send({"type": "websocket.close", "code": POLICY, "reason": refused.problem.title})
            return

        def ask(frame: Input) -> Ask:
            given = self._input(frame.input.encode()) if frame.given is UNREAD else frame.given
            question = values.digest((caller.tenant, given, session)) if self._policy.cache_ttl > 0 else ""
            return Ask(new_id(), given, self._policy.deadline, question, tenant=caller.tenant, session=session)

        await Conversation(self._desk, session, ask, partial(check_again, scope), receive, send).live()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        task_id = told = problem = response = None
        headers = dict(scope["headers"])
        live = b"text/event-stream" in headers.get(b"accept", b"")
        try:
            key = idempotency_key(Request(scope)) if b"idempotency-key" in headers else ""
            prefers = preference(_values(scope, b"prefer")) if b"prefer" in headers else NONE
            session = session_of(scope)
            task_id = derived_id(caller_of(scope).tenant, keyed_by(self._route, session), key) if key else new_id()
            body = await _body(scope, receive, self._limit)
            ask = self._ask(scope, prefers, task_id, key, session, body)
            if key:
                response = await self._answered_before(ask, body, prefers)
            if not live and response is None:
                told = await self._runs.answer(ask)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            problem, task_id = problem_of_run(error), error.task_id if isinstance(error, Unconfirmed) else task_id
        else:
            if response is None and told is None:
                ended = await stream(self._runs, ask, send, [(b"task-id", task_id.encode())])
                problem, told = (ended, None) if isinstance(ended, Problem) else (None, ended)
            if told is not None and told.rung is not Rung.TASK:
                await _reply(send, told.output, [*JSON, *_about(told, ask, prefers)])
            elif told is not None or response is not None:
                response = response or accepted(_task_of(told), prefers)
                response.headers["Task-Id"] = told.task_id if told else task_id
                await response(scope, receive, send)
        if problem is not None:
            await _refuse(_known_as(problem, task_id), scope, receive, send)

    def _ask(self, scope: Scope, prefers: Preference, task_id: str, key: str, session: str | None, body: bytes) -> Ask:
        """What the caller wants. Raises InvalidInput, Refused."""
        given, policy, caller = self._input(body), self._policy, caller_of(scope)
        wait = math.inf if prefers.wait is None else prefers.wait
        patience = min(policy.deadline, wait, before_serve(_values(scope, TIMEOUT)))
        takes = prefers.respond_async and caller.submits and self._agent.background is not None
        task = self._becomes(caller.tenant, task_id, key, session, body) if takes else None
        if policy.cache_ttl <= 0:
            return Ask(task_id, given, patience, task=task, tenant=caller.tenant, session=session)
        oldest = oldest_taken(_values(scope, b"cache-control"))
        question, joins = values.digest((caller.tenant, given, session)), oldest > 0 and not key
        return Ask(task_id, given, patience, question, oldest, joins, task, tenant=caller.tenant, session=session)

    def _becomes(self, tenant: str, task_id: str, key: str, session: str | None, body: bytes) -> Submission:
        """The task that a run of this input may become."""
        text, options = body.decode().strip(" \t\r\n"), Options(session=session)
        order, now = Order(self._entry, (text,), options, bodies.parse(body)), time.time()
        return submission(order, tenant=tenant, route=keyed_by(self._route, session), key=key, now=now, ids=[task_id])

    async def _answered_before(self, ask: Ask, body: bytes, prefers: Preference) -> Response | None:
        """The answer to a request whose run was promoted before."""
        if self._agent.background is None:
            return None
        asked = (self._ledger, ask.tenant, ask.task_id, body)
        task = await again.known_task(*asked, needed=ask.task is not None)
        return task and await again.answer(self._ledger, task, ask.patience, prefers)

    async def _hold_up(self, how: Pausing, scope: Scope, receive: Receive, send: Send) -> None:
        """As the gateway does it for agents that have no application of their own."""
        request = Request(scope, receive)
        try:
            refuse_query(request, frozenset())
            answer = await how(self._ledger, self._entry, request)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            answer = problem_of(error).response()
        await answer(scope, receive, send)

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


def _about(told: Told, ask: Ask, prefers: Preference) -> Headers:
    """What is said of an answer besides the answer: which kind it is, and whose it was, how long ago; where the full
    one will be; and what was honoured."""
    about = [(b"task-id", (told.task_id if ask.joins else ask.task_id).encode()), KINDS[told.rung]]
    if told.age is not None:
        about.append((b"age", b"%d" % told.age))
    if told.task is not None:
        about.append((b"location", f"/v1/tasks/{told.task.id}".encode()))
    if prefers is not NONE:
        honoured = applied(respond_async=ask.task is not None, wait=prefers.wait)
        about += [(name.lower().encode(), value.encode()) for name, value in honoured]
    return about


def _task_of(told: Told | None) -> Task:
    assert told is not None, "an answer there is"
    assert told.task is not None, "this kind of answer has a task"
    return told.task


def _values(scope: Scope, name: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for header, value in scope["headers"] if header == name)


def _known_as(problem: Problem, task_id: str | None) -> Problem:
    return problem if task_id is None else replace(problem, headers=(*problem.headers, ("Task-Id", task_id)))


def _not_allowed(method: str, allowed: str) -> Problem:
    return Problem(405, "This route has another method", f"{method} is not served here.", headers=(("Allow", allowed),))
