"""One run of an agent in real time, and those who wait for it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, NoReturn

from agents import Agent, Permanent, RubatoError
from agents.agent import write_output
from agents.artifacts import ArtifactStore, reading_from
from agents.errors import InvalidOutput
from agents.failures import failed_step, foremost
from agents.ids import new_id
from agents.running import RunContext
from agents.waits import Call
from cluster.attempt import Why
from cluster.task import Submission, Task

from .recording import Movable, Silence, Telling
from .subagents import Reach, Subagents

OUTPUT_LIMIT = 1024 * 1024  # bytes
_SILENCE = Silence()

log = logging.getLogger(__name__)


class RunBroke(Permanent):
    """The agent's own code broke: it raised what no caller can act on, asked to exit, or cancelled itself."""

    def __init__(self, message: str, step: str | None = None) -> None:
        super().__init__(message, step)
        self.step = step

    def __str__(self) -> str:
        return str(self.args[0])


class Ask(NamedTuple):
    """What a caller wants, and for how many seconds it waits.

    `key` tells this question from others where answers are kept ('': this one is not), and one of at most `oldest`
    seconds will do. With `joins` it may share a run with equal ones. `task` is what its run may become, where the
    caller takes a task. `depth` counts the runs that called one another. The run may be a turn of a `session`.
    """

    task_id: str
    given: Any
    patience: float
    key: str = ""
    oldest: float = math.inf
    joins: bool = False
    task: Submission | None = None
    tenant: str = ""
    depth: int = 0
    session: str | None = None


class Run:
    """Goes on until it ends, leaves for the background, or nobody waits for it any more. Its deadline is that of
    whoever waits longest."""

    def __init__(self, name: str, ask: Ask, ends: float, reach: Reach, telling: Telling | None = None) -> None:
        """`telling` hears of its steps and events."""
        self.name = name  # the agent's
        self.tenant = ask.tenant
        self.task_id = ask.task_id
        self.depth = ask.depth
        self.ends = ends
        self.began = time.time()
        self.becomes = ask.task  # where it leaves; None: it may not
        self.recorder: Movable | Telling | Silence = Movable(telling) if ask.task else telling or _SILENCE
        self.task: asyncio.Task[bytes]
        self.context: RunContext | None = None  # once it runs
        self.subagents: Subagents | None = None  # once it has called any
        self.shared = ""  # the question under which others may join it
        self.wants = ""  # why it is to leave
        self.move: asyncio.Task[Task | None] | None = None  # its way to the background
        self.canceled = False  # by the ledger, once it is a task
        self.waiters = 0
        self.has_slot = False
        self._reach = reach
        self._bells: list[asyncio.Future[None]] = []

    @property
    def may_leave(self) -> bool:
        return self.becomes is not None

    @property
    def remaining(self) -> float:
        """Seconds until nobody waits for it any more."""
        return max(0.0, self.ends - monotonic())

    async def call(self, call: Call, child_id: str) -> str | None:
        """As agents.host.Live has it."""
        subagents = self.subagents or Subagents(self, self._reach)
        if self.context is not None:  # else it has ended, and keeps nothing that knows it
            self.subagents = subagents
        return await subagents.call(call, child_id)

    def reach(self, ends: float) -> None:
        """Somebody waits for it until then."""
        if ends > self.ends:
            self.ends = ends
            if self.context is not None:
                self.context.reach(ends)

    async def over(self, until: float) -> bool:
        """Whether it has ended by then, a moment of time.monotonic(); returns as soon as it has, or is to leave."""
        if self.task.done() or self.wants:
            return self.task.done()
        loop = asyncio.get_running_loop()
        bell: asyncio.Future[None] = loop.create_future()
        self._bells.append(bell)
        timer = loop.call_later(until - monotonic(), _ring, bell)
        try:
            await bell
        finally:
            timer.cancel()
            self._bells.remove(bell)
        return self.task.done()

    def ring(self) -> None:
        """Have those who wait look: something happened to the run."""
        for bell in self._bells:
            _ring(bell)

    def leave(self, reason: str) -> None:
        """Have whoever waits for it take it to the background, if it may go there."""
        if self.becomes is not None and not self.wants:
            self.wants = reason
            self.ring()

    async def left(self, reason: str) -> NoReturn:
        """The same for the run's own code, which does not go on here."""
        self.leave(reason)
        await asyncio.Event().wait()
        raise asyncio.CancelledError

    def interrupt(self, why: Why) -> None:
        """The ledger says that this is not its claim any more, or that the task is to end."""
        self.canceled = self.canceled or why is Why.CANCEL
        self.task.cancel()

    def output(self) -> bytes:
        """The output as JSON, of a run that has ended. Raises what came of it instead."""
        if self.task.cancelled():
            seen(self.task)
            raise RunBroke(f"Agent {self.name!r} cancelled its own run.")
        return self.task.result()


class agents_own(reading_from):
    """A block of the agent's own code. It raises what that raised where it is a RubatoError, and else RunBroke: an exit
    would end every run of this replica."""

    __slots__ = ("_name",)

    def __init__(self, name: str, artifacts: ArtifactStore) -> None:
        super().__init__(artifacts)
        self._name = name

    def __exit__(self, kind: object = None, error: BaseException | None = None, traceback: object = None) -> None:
        super().__exit__()
        try:
            if isinstance(error, (Exception, BaseExceptionGroup, SystemExit, KeyboardInterrupt)):
                raise _told(self._name, error) from None
        finally:
            del error, traceback  # which know this frame by now


def written(agent: type[Agent[Any, Any]], output: Any) -> bytes:
    """The output as JSON. Raises InvalidOutput."""
    text = write_output(agent, output).encode()
    if len(text) > OUTPUT_LIMIT:
        raise InvalidOutput(
            f"Agent {agent.name!r} gave more than {OUTPUT_LIMIT} bytes; large data belongs in an artifact."
        )
    return text


def seen(task: asyncio.Task[Any]) -> None:
    """Read what a task has ended in, which may concern nobody: else asyncio complains about an error, and a cancelled
    task keeps the frames that it was cancelled in, which know the run that knows the task."""
    with suppress(asyncio.CancelledError):
        task.exception()


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


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)
