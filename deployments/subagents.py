"""Agents that a live run calls: their own replicas answer, and leave with the run where it leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from agents import Retryable
from agents.children import deeper
from agents.errors import ChildFailed, Overloaded
from agents.waits import Call
from cluster.task import Origin

from .problems import Problem

LEAVE_SECONDS = 1.0  # in which sub-agents that are asked to leave have left, or ended


class SubAsk(NamedTuple):
    """What a live run asks of another agent's replica: `origin` is the step that calls, `seconds` how long it waits,
    and with `may_leave` the sub-agent may become the task `task_id`, a child of `parent`."""

    tenant: str
    task_id: str
    parent: str
    origin: Origin
    input: str
    seconds: float
    may_leave: bool


class SubTold(NamedTuple):
    """What came of it: the output as JSON, or a problem document with its status; neither where it left."""

    output: str = ""
    problem: str = ""
    status: int = 0
    retry_after: float = 1.0


class Reach(Protocol):
    """How the replicas of other agents are reached."""

    async def ask(self, agent: str, ask: SubAsk) -> SubTold | None:
        """One of its replicas answers; None where the agent has none. A cancel cancels the run there."""

    async def leave(self, agent: str, task_id: str) -> None:
        """Have that run leave, in whichever replica it is."""


class Host(Protocol):
    """The run that calls."""

    task_id: str
    tenant: str
    depth: int  # how many runs called one another before it

    @property
    def may_leave(self) -> bool: ...

    @property
    def remaining(self) -> float: ...

    async def left(self, reason: str) -> Any: ...


class Subagents:
    """The sub-agents of one live run."""

    def __init__(self, host: Host, reach: Reach) -> None:
        self._host = host
        self._reach = reach
        self._there: dict[str, str] = {}  # those that run now: their agents by their ids
        self._empty: asyncio.Event | None = None  # once they are asked to leave

    async def call(self, call: Call, child_id: str) -> str | None:
        """As agents.host.Live has it."""
        host = self._host
        origin = Origin(call.step.name, call.step.key, call.digest, call.group, deeper(call.step, host.depth))
        ask = SubAsk(
            host.tenant, child_id, host.task_id, origin, call.write(), host.remaining, may_leave=host.may_leave
        )
        self._there[child_id] = call.agent
        try:
            told = await self._reach.ask(call.agent, ask)
        finally:
            del self._there[child_id]
            if self._empty is not None and not self._there:
                self._empty.set()
        if told is None:
            return None
        if told.problem:
            raise _error(call.agent, child_id, told)
        if not told.output:
            await host.left(f"waits for {call.step.name}")
        return f'{{"output":{told.output}}}'

    async def leave(self) -> None:
        """Have those that run leave first; returns when they have, have ended, or take too long: a task that is missing
        then is created when its parent goes on."""
        if not self._there:
            return
        self._empty = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.gather(*(self._reach.leave(agent, id) for id, agent in self._there.items()))
                await self._empty.wait()


class Nobody:
    """Where no other replicas can be reached."""

    async def ask(self, agent: str, ask: SubAsk) -> SubTold | None:
        return None

    async def leave(self, agent: str, task_id: str) -> None:
        return


def told_of(problem: Problem) -> SubTold:
    """What the caller of a sub-agent is told of a problem."""
    wait = next((float(value) for name, value in problem.headers if name == "Retry-After"), 1.0)
    return SubTold(problem=problem.body().decode(), status=problem.status, retry_after=wait)


def _error(agent: str, task_id: str, told: SubTold) -> Exception:
    """What a problem of the sub-agent is for the run that called it."""
    document: dict[str, Any] = json.loads(told.problem)
    kinds: dict[int, Callable[[str], Exception]] = {
        429: lambda detail: Overloaded(detail, retry_after=told.retry_after),
        503: lambda detail: Retryable(detail, after=told.retry_after),
    }
    make = kinds.get(told.status)
    return make(document["detail"]) if make else ChildFailed(agent, task_id, document)
