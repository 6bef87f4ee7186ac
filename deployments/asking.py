"""What is asked of an agent in real time, whoever asks: read from a request, a turn of a conversation, or the run of
another agent."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from agents import Realtime, values
from agents.agent import read_input
from agents.catalog import Entry
from agents.errors import InvalidInput
from agents.ids import derived_id, new_id
from cluster.task import Options, Submission, Task, extra_json

from . import bodies
from .access import Caller, caller_of
from .cachecontrol import oldest_taken
from .frames import UNREAD, Input
from .gateway.headers import idempotency_key
from .gateway.sessions import keyed_by, session_of
from .gateway.submitting import Order, submission
from .prefer import NONE, TIMEOUT, Preference, before_serve, preference
from .runs import Ask
from .subagents import SubAsk

STREAM = b"text/event-stream"


class Head(NamedTuple):
    """What a request says besides its input. `task_id` is the run's, and the task's if it becomes one; `key` is its
    Idempotency-Key ('': none); `live`: its caller listens."""

    caller: Caller
    task_id: str
    key: str
    session: str | None
    prefers: Preference
    live: bool


class Asking:
    """Reads what is asked of one agent."""

    def __init__(self, entry: Entry, policy: Realtime, limit: int) -> None:
        """`limit`: how many bytes an input has at most."""
        self._entry = entry
        self._agent = entry.agent
        self._policy = policy
        self._limit = limit
        self._route = f"/v1/agents/{entry.name}"

    def head(self, scope: Scope) -> Head:
        """Everything but the input of a request to run the agent. Raises Refused."""
        headers, caller = dict(scope["headers"]), caller_of(scope)
        key = idempotency_key(Request(scope)) if b"idempotency-key" in headers else ""
        prefers = preference(_values(scope, b"prefer")) if b"prefer" in headers else NONE
        session = session_of(scope)
        task_id = derived_id(caller.tenant, keyed_by(self._route, session), key) if key else new_id()
        return Head(caller, task_id, key, session, prefers, STREAM in headers.get(b"accept", b""))

    async def whole(self, head: Head, scope: Scope, receive: Receive) -> tuple[Ask, bytes]:
        """What the request asks for, and its body. Raises InvalidInput, Refused."""
        body = await _body(scope, receive, self._limit)
        given, policy, prefers = self._input(body), self._policy, head.prefers
        wait = math.inf if prefers.wait is None else prefers.wait
        patience = min(policy.deadline, wait, before_serve(_values(scope, TIMEOUT)))
        takes = prefers.respond_async and head.caller.submits and self._agent.background is not None
        task = self._becomes(head, body) if takes else None
        tenant, session = head.caller.tenant, head.session
        if policy.cache_ttl <= 0:
            return Ask(head.task_id, given, patience, task=task, tenant=tenant, session=session), body
        oldest, question = oldest_taken(_values(scope, b"cache-control")), values.digest((tenant, given, session))
        joins = oldest > 0 and not head.key
        keeps = (question, oldest, joins)
        return Ask(head.task_id, given, patience, *keeps, task, tenant=tenant, session=session), body

    def turn(self, caller: Caller, session: str, frame: Input) -> Ask:
        """What a turn of a conversation asks for; it becomes no task. Raises InvalidInput, Refused."""
        given = self._input(frame.input.encode()) if frame.given is UNREAD else frame.given
        policy, tenant = self._policy, caller.tenant
        question = values.digest((tenant, given, session)) if policy.cache_ttl > 0 else ""
        return Ask(new_id(), given, policy.deadline, question, tenant=tenant, session=session)

    def sub(self, asked: SubAsk) -> Ask:
        """What the run of another agent asks for. Raises InvalidInput."""
        policy, given = self._policy, read_input(self._agent, asked.input)
        question = values.digest((asked.tenant, given, None)) if policy.cache_ttl > 0 else ""
        task = self._child(asked) if asked.may_leave and self._agent.background else None
        patience = min(policy.deadline, asked.seconds)
        ask = Ask(asked.task_id, given, patience, question, joins=bool(question) and task is None, task=task)
        return ask._replace(tenant=asked.tenant, depth=asked.origin.depth)

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

    def _becomes(self, head: Head, body: bytes) -> Submission:
        """The task that a run of this input may become."""
        text, options = body.decode().strip(" \t\r\n"), Options(session=head.session)
        order, route = Order(self._entry, (text,), options, bodies.parse(body)), keyed_by(self._route, head.session)
        known = {"tenant": head.caller.tenant, "route": route, "key": head.key}
        return submission(order, **known, now=time.time(), ids=[head.task_id])

    def _child(self, asked: SubAsk) -> Submission:
        """The task that a run for another agent's run may become: its child."""
        policy = self._agent.background
        assert policy is not None, "only such an agent's run leaves"
        origin = extra_json(origin=asked.origin)
        fixed = (0, "[]", None, policy.max_attempts, policy.timeout, time.time())
        task = Task(asked.tenant, asked.task_id, self._entry.name, self._entry.version, asked.input, *fixed)
        return Submission(asked.tenant, "", (task._replace(parent_id=asked.parent, extra=origin),))


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


def _values(scope: Scope, name: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for header, value in scope["headers"] if header == name)
