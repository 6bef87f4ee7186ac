"""One agent over HTTP, while its caller waits: a plain ASGI application, one per agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agents import Agent, Realtime
from agents.agent import input_type
from agents.artifacts import ArtifactStore
from agents.catalog import Entry
from agents.ids import new_id
from cluster.claims import HolderLink
from cluster.client import LedgerClient
from cluster.holder import Holder
from cluster.kinds import versions_of

from . import again, bodies
from .access import caller_of, check_again, is_good
from .asking import Asking, Head
from .conversations import POLICY, Access, Conversation, Desk
from .describe import describe
from .gateway.answers import accepted
from .gateway.forms import refuse_query
from .gateway.pausing import pause, resume
from .gateway.sessions import session_of
from .ladder import Rung
from .live import LiveRuns, Load
from .measures import Measures, Unmeasured
from .prefer import NONE, Preference, applied
from .problems import Problem, Refused, not_found, problem_of
from .promotion import Promoter
from .runs import Ask
from .streaming import Headers, stream
from .subagents import Nobody, Reach, SubAsk, SubTold, told_of
from .told import Told, problem_of_run
from .wire import LISTEN

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
        self._route = f"/v1/agents/{entry.name}"
        self._description = json.dumps(describe(entry)).encode()
        self._policy = policy
        self._asking = Asking(entry, policy, limit)
        self._promoter = Promoter(entry.agent, ledger, Holder(new_id(), links.holder, versions=versions_of([entry])))
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
            told = await self._runs.answer(self._asking.sub(asked))
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            return told_of(problem_of_run(error))
        return SubTold(told.output.decode())

    def check_health(self) -> None:
        """Raises where runs that nobody waits for, and that hang in plain steps, hold every slot: this replica should
        be replaced."""
        if self.abandoned >= self._policy.slots:
            raise RuntimeError(f"{self.abandoned} runs hang in plain steps that nobody waits for")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="step")
        asyncio.get_running_loop().set_default_executor(threads)
        watching = [asyncio.create_task(watch()) for watch in (self._runs.watch, self._desk.watch)]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for watch in watching:
            watch.cancel()
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

        ask = partial(self._asking.turn, caller, session)
        access = Access(partial(check_again, scope), partial(is_good, scope))
        await Conversation(self._desk, session, ask, access, receive, send).live(scope.get(LISTEN))

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        head: Head | None = None
        answer: Told | Problem | Response | None = None
        try:
            head = self._asking.head(scope)
            ask, body = await self._asking.whole(head, scope, receive)
            if head.key:
                answer = await self._answered_before(ask, body, head.prefers)
            if answer is None and not head.live:
                answer = await self._runs.answer(ask)
        except Exception as error:  # noqa: BLE001 - every failure is told as a problem
            answer = problem_of_run(error)
        if answer is None and head is not None:
            answer = await stream(self._runs, ask, send, [(b"task-id", head.task_id.encode())])
        if isinstance(answer, Told) and answer.rung is not Rung.TASK and head is not None:
            await _reply(send, answer.output, [*JSON, *_about(answer, ask, head.prefers)])
        elif answer is not None:
            await _response(answer, head)(scope, receive, send)

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


def _response(answer: Told | Problem | Response, head: Head | None) -> Response:
    """What is not simply an output: a problem, a task, or what a run that was promoted before has come to."""
    if isinstance(answer, Problem):
        response = answer.response()
    elif isinstance(answer, Told):
        assert answer.task is not None, "this kind of answer has a task"
        response = accepted(answer.task, NONE if head is None else head.prefers)
        response.headers["Task-Id"] = answer.task_id
    else:
        response = answer
    if head is not None:
        response.headers.setdefault("Task-Id", head.task_id)
    return response


def _not_allowed(method: str, allowed: str) -> Problem:
    return Problem(405, "This route has another method", f"{method} is not served here.", headers=(("Allow", allowed),))
