"""One attempt at a task: the run of somebody else's code, and whatever comes of it as one verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from agents import Agent, Background, Mode
from agents.agent import read_input, write_output
from agents.artifacts import ArtifactStore, reading_from
from agents.errors import TimedOut, UnknownAgent
from agents.journal import Journal
from agents.running import RunContext, RunFacts

from . import verdicts
from .claims import Claim, Ending, Verdict
from .durable import Durable, within_limit
from .lease import Lease
from .pace import Pace
from .reports import Line
from .tasklog import speaking

log = logging.getLogger("rubato.task")


class Why(Enum):
    """Why a run is interrupted."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    STOP = "stop"  # the worker leaves
    LOST = "lost"  # the claim is somebody else's


@dataclass(frozen=True, slots=True)
class Tools:
    """What the attempts of one worker share. `overdue` hears of a run that did not unwind, and `over` of each end."""

    artifacts: Callable[[str], ArtifactStore]
    pace: Pace
    over: Callable[[], None]
    overdue: Callable[[Attempt], None]


class Attempt:
    """Runs one claim. It ends in exactly one verdict, or in none where the claim is lost."""

    def __init__(self, claim: Claim, agent: Agent[Any, Any] | None, line: Line, lease: Lease, tools: Tools) -> None:
        self.claim = claim
        self.line = line
        self.lease = lease
        self._agent = agent
        self._tools = tools
        self._why: Why | None = None
        self._task: asyncio.Task[None] | None = None
        self._running = False  # inside the author's code, or about to record what came of it
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[None]:
        """Start the run, and count its timeout from now."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run())
        self._timer = loop.call_later(self.claim.task.timeout, self.interrupt, Why.TIMEOUT)
        return self._task

    def settle(self, verdict: Verdict) -> None:
        """Report the end, unless another was; from here on the run can start and record nothing."""
        self.lease.lose()
        self.line.settle(verdict)
        self._tools.over()

    def interrupt(self, why: Why) -> None:
        """Have the run unwind. The first reason decides the verdict, save that a lost claim gets none. A run that has
        not unwound within the grace gets its verdict at once, and is called overdue."""
        if why is Why.LOST:
            self.lease.lose()
            self.line.lose()
        elif self._why is not None or self.line.shut:
            return
        first, self._why = self._why is None, why
        if first and self._running and self._task is not None and not self._task.done():
            self._task.cancel()
            self._watch()

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._tools.pace.grace, self._give_up)

    def _give_up(self) -> None:
        self.settle(self._interrupted())
        self._tools.overdue(self)

    async def _run(self) -> None:
        task = self.claim.task
        with speaking(task.tenant, task.id, task.attempts):
            self._running = True
            verdict = await self._outcome() if self._why is None else self._interrupted()
        if self._timer is not None:
            self._timer.cancel()
        self.settle(verdict)

    async def _outcome(self) -> Verdict:
        """The verdict on whatever the author's code does."""
        try:
            output = await self._output()
        except BaseException as error:  # noqa: BLE001 - SystemExit of one run must not end its neighbours'
            return self._interrupted() if self._why else self._failed(error)
        return self._interrupted() if self._why else Verdict(Ending.COMPLETED, output=output)

    async def _output(self) -> str:
        claim, task, agent = self.claim, self.claim.task, self._agent
        if agent is None:
            raise UnknownAgent(f"this worker has no agent {task.agent!r}; deploy it, then submit again")
        store = self._tools.artifacts(task.tenant)
        facts = RunFacts(Mode.BACKGROUND, task.id, task.timeout, task.attempts, task.tenant, claim.emitted)
        recorder = Durable(self.line, self.lease, self._tools.pace.now)
        context = RunContext(facts, Journal(claim.journal), recorder, store)
        given = read_input(type(agent), task.input)
        with reading_from(store):
            output = await agent.run(context, given)
        return within_limit(write_output(type(agent), output))

    def _interrupted(self) -> Verdict:
        match self._why:
            case Why.TIMEOUT:
                return self._failed(TimedOut(f"the attempt ran longer than {self.claim.task.timeout:g} s"))
            case Why.CANCEL:
                return Verdict(Ending.CANCELED)
            case _:
                return Verdict(Ending.RELEASED)

    def _failed(self, error: BaseException) -> Verdict:
        task, pace = self.claim.task, self._tools.pace
        log.error("attempt %d of %s failed", task.attempts, task.agent, exc_info=error)
        policy = (self._agent and self._agent.background) or Background()
        return verdicts.failed(
            error,
            attempt=task.attempts,
            max_attempts=task.max_attempts,
            retry=policy.retry,
            now=pace.now(),
            roll=pace.roll(),
        )
