"""Runs of one agent while their callers wait: held in memory, and over at the deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from agents import Agent, Mode, Permanent, Realtime, RubatoError
from agents.agent import write_output
from agents.artifacts import ArtifactStore, reading_from
from agents.errors import InvalidOutput
from agents.events import Emitted
from agents.failures import failed_step, foremost
from agents.ids import new_id
from agents.journal import Journal, StepRecord
from agents.running import Recorder, RunContext, RunFacts
from cluster.task import Event

from .problems import Problem, problem_of, too_late

OUTPUT_LIMIT = 1024 * 1024  # bytes

Listener = Callable[[Event], Awaitable[None]]

log = logging.getLogger(__name__)


class DeadlinePassed(RubatoError):
    """The caller waited for as long as the agent's deadline allows; the run was cancelled."""


class RunBroke(Permanent):
    """The agent's own code broke: it raised what no caller can act on, asked to exit, or cancelled itself."""

    def __init__(self, message: str, step: str | None = None) -> None:
        super().__init__(message, step)
        self.step = step

    def __str__(self) -> str:
        return str(self.args[0])


class Silence:
    """A recorder for a caller who waits for nothing but the answer."""

    async def may_start(self) -> None:
        return

    async def record(self, step: StepRecord) -> None:
        return

    async def emit(self, event: Emitted) -> None:
        return


class Telling:
    """A recorder that numbers what happens from 0 and hands it to a listener, in order."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._next = 0
        self._over = False
        self._turn = asyncio.Lock()

    async def may_start(self) -> None:
        return

    async def record(self, step: StepRecord) -> None:
        await self.tell("step.completed", step=str(step.id))

    async def emit(self, event: Emitted) -> None:
        await self.tell(event.type, event.data, step=event.step, at=event.at)

    async def tell(self, type: str, data: str = "{}", *, step: str = "", at: float | None = None) -> None:
        async with self._turn:
            if not self._over:
                moment = time.time() if at is None else at
                await self._listener(Event(self._next, type, moment, 1, step or None, data))
                self._next += 1

    async def end(self, type: str, data: str) -> None:
        """Tell the last event; what a cancelled run still emits is dropped."""
        await self.tell(type, data)
        self._over = True


class LiveRuns:
    """One replica's runs of one agent. Each is owned here until it really ends, whether or not its caller waits."""

    def __init__(self, agent: Agent[Any, Any], policy: Realtime, artifacts: ArtifactStore) -> None:
        self._agent = agent
        self.deadline = policy.deadline
        self._artifacts = artifacts
        self._tasks: set[asyncio.Task[str]] = set()
        self._left: set[asyncio.Task[str]] = set()  # those of _tasks that nobody waits for

    async def answer(self, task_id: str, given: Any, recorder: Recorder | None = None) -> str:
        """The output as JSON. Raises what the agent raised where it is a RubatoError, RunBroke where it is not,
        InvalidOutput, or at the deadline DeadlinePassed.

        A run whose caller leaves or whose deadline passes is cancelled and not waited for: a plain function that
        runs in a thread cannot be interrupted.
        """
        facts = RunFacts(Mode.REALTIME, task_id, self.deadline)
        context = RunContext(facts, Journal(), recorder or Silence(), self._artifacts)
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        task = loop.create_task(self._attempt(context, given))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, over))
        timer = loop.call_later(self.deadline, _resolve, over)
        try:
            await over
        finally:
            timer.cancel()
            if not task.done():
                self._leave(task)
        if not task.done():
            raise DeadlinePassed(
                f"Agent {self._agent.name!r} did not answer within its deadline of {self.deadline:g} s; the run was "
                "cancelled. Ask again, or submit it as a task, which may take longer."
            )
        if task.cancelled():
            raise RunBroke(f"Agent {self._agent.name!r} cancelled its own run.")
        return task.result()

    @property
    def abandoned(self) -> int:
        """How many runs go on that nobody waits for."""
        return len(self._left)

    async def close(self, patience: float = 2.0) -> None:
        """Cancel what still runs and wait a moment for it to end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)

    async def _attempt(self, context: RunContext, given: Any) -> str:
        with reading_from(self._artifacts):
            try:
                output = await self._agent.run(context, given)
            # Somebody else's code; an exit raised in it would end every run of this replica.
            except (Exception, BaseExceptionGroup, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
                raise _told(self._agent.name, error) from None
        text = write_output(type(self._agent), output)
        if len(text.encode()) > OUTPUT_LIMIT:
            raise InvalidOutput(
                f"Agent {self._agent.name!r} gave more than {OUTPUT_LIMIT} bytes; large data belongs in an artifact."
            )
        return text

    def _leave(self, task: asyncio.Task[str]) -> None:
        self._left.add(task)
        task.cancel()

    def _ended(self, over: asyncio.Future[None], task: asyncio.Task[str]) -> None:
        _resolve(over)
        self._tasks.discard(task)
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # seen: a run that nobody waited for leaves no complaint about an exception never read


def _resolve(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def problem_of_run(error: Exception) -> Problem:
    """The problem that answers a run that ended in `error`."""
    return too_late(str(error)) if isinstance(error, DeadlinePassed) else problem_of(error)


def _told(name: str, error: BaseException) -> BaseException:
    """What the caller may know of what the agent raised: all of an error that was meant for it, else where to look."""
    error = foremost(error)
    if isinstance(error, RubatoError):
        return error
    reference = new_id()
    log.error("agent %s broke, reference %s", name, reference, exc_info=error)
    return RunBroke(
        f"Agent {name!r} raised {type(error).__name__}. The log of the server has it under the reference {reference}.",
        failed_step(error),
    )
