"""One attempt at a task: the run of somebody else's code, and whatever comes of it as one verdict."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from agents import Agent, Background, Mode, Resources
from agents.agent import read_input, write_output
from agents.artifacts import ArtifactStore, reading_from
from agents.branches import UNWIND, Wait
from agents.errors import TimedOut, UnknownAgent
from agents.host import RunFacts
from agents.journal import Journal
from agents.running import RunContext
from agents.waits import Waits

from . import verdicts, waits
from .callees import Callees
from .claims import Claim, Ending, News, Verdict
from .durable import Durable, within_limit
from .keepers import SessionKeeper
from .lease import Lease
from .pace import Pace
from .placed import Placed
from .reports import Line
from .sessions import SessionLink
from .tasklog import speaking

log = logging.getLogger("rubato.task")


class Why(Enum):
    """Why a run is interrupted."""

    TIMEOUT = "timeout"
    EXPIRED = "expired"  # the task's deadline passed
    CANCEL = "cancel"
    STOP = "stop"  # the worker leaves
    LOST = "lost"  # the claim is somebody else's


@dataclass(frozen=True, slots=True)
class Tools:
    """What the attempts of one worker share. `overdue` hears of a run that did not unwind, and `over` of each end."""

    artifacts: Callable[[str], ArtifactStore]
    pace: Pace
    callees: Callees
    sessions: SessionLink
    result_bytes: int  # that may be recorded at once
    over: Callable[[], None]
    overdue: Callable[[Attempt], None]
    lines: Callable[[str], tuple[str, ...]]  # that are served of an agent
    shape: Resources | None = None  # what the worker takes; None: what each agent asks for


def limit(claim: Claim) -> tuple[float, Why]:
    """How many seconds a claim may run, and why no longer: what its attempt has left, or its task."""
    task = claim.task
    left = task.timeout - task.ran
    until_deadline = math.inf if task.deadline is None else task.deadline - claim.now
    return (left, Why.TIMEOUT) if left <= until_deadline else (until_deadline, Why.EXPIRED)


class Attempt:
    """Runs one claim. It ends in exactly one verdict, or in none where the claim is lost."""

    def __init__(self, claim: Claim, agent: Agent[Any, Any] | None, line: Line, lease: Lease, tools: Tools) -> None:
        self.claim = claim
        self.line = line
        self.lease = lease
        self._agent = agent
        self._tools = tools
        self._policy = (agent and agent.background) or Background()
        self._arrived = tools.pace.clock()
        self._why: Why | None = None
        self._suspended: Verdict | None = None  # every branch of the run waits
        self._waits: Waits | None = None
        self._news: list[News] = []
        self._task: asyncio.Task[None] | None = None
        self._running = False  # inside the author's code, or about to record what came of it
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[None]:
        """Start the run, and count its time from now; where it has none left, it ends unbegun."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run())
        left, why = limit(self.claim)
        if left <= 0:
            self.interrupt(why)
        else:
            self._timer = loop.call_later(left, self.interrupt, why)
        return self._task

    def hear(self, news: Iterable[News]) -> None:
        """What the run may wait for has happened."""
        for each in news:
            self._news.append(each)
            if self._waits is not None:
                self._waits.hear(each)

    def settle(self, verdict: Verdict) -> None:
        """Report the end, unless another was; from here on the run can start and record nothing."""
        self.lease.lose()
        self.line.settle(verdict)
        self._tools.over()

    def wind_up(self) -> None:
        """Let the steps in progress end, and no other begin; then the claim goes back, unless the run has ended."""
        if self._waits is None:
            self.interrupt(Why.STOP)
        else:
            self._waits.branches.wind_up(partial(self.interrupt, Why.STOP))

    def interrupt(self, why: Why, grace: float | None = None) -> None:
        """Have the run unwind. The first reason decides the verdict, a wait of all its branches among them, save that
        a lost claim gets none. A run that has not unwound within the grace, the pace's unless another is given, gets
        its verdict at once, and is called overdue."""
        if why is Why.LOST:
            self.lease.lose()
            self.line.lose()
        elif self._why is not None or self._suspended is not None or self.line.shut:
            return
        first, self._why = self._why is None, why
        if self._waits is not None:
            self._waits.branches.stop()
        if first and self._running and self._task is not None and not self._task.done():
            self._task.cancel()
            self._watch(self._tools.pace.grace if grace is None else grace, self._give_up)

    def _suspend(self, found: tuple[Wait, ...]) -> None:
        """The run unwinds: nothing is left to do but to wait, or to go to another worker."""
        ran = max(0.0, self._tools.pace.clock() - self._arrived)
        lane = next((wait.lane for wait in found if wait.lane is not None), None)
        if lane is not None:  # whatever else it waits for: it runs again at once
            self._suspended = Verdict(Ending.MOVED, ran=ran, lane=lane)
        else:
            self._suspended = self._waiting(waits.joined(map(_as_stored, found)), ran)
        self._watch(UNWIND, self._hurry)

    def _waiting(self, stored: waits.Waits, ran: float) -> Verdict:
        ends = tuple((group, self._waits.ends(group)) for group, _ in stored.children) if self._waits else ()
        return Verdict(Ending.WAITING, waiting_on=waits.write(stored), ran=ran, heard=len(self._news), ends=ends)

    def _hurry(self) -> None:
        """A branch that awaits something else has not noticed that the others wait."""
        if self._running and self._task is not None and not self._task.done():
            self._task.cancel()
            self._watch(self._tools.pace.grace, self._give_up)

    def _watch(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)

    def _give_up(self) -> None:
        self.settle(self._suspended or self._interrupted())
        self._tools.overdue(self)

    async def _run(self) -> None:
        task = self.claim.task
        with speaking(task.tenant, task.id, task.attempts):
            self._running = True
            verdict = await self._outcome() if self._why is None else self._interrupted()
        if self._timer is not None:
            self._timer.cancel()
        if self._waits is not None:
            self._waits.branches.close()
            self._waits = None  # it knows the attempt: the collector of garbage would have to find them
        self.settle(verdict)

    async def _outcome(self) -> Verdict:
        """The verdict on whatever the author's code does."""
        try:
            verdict = Verdict(Ending.COMPLETED, output=await self._output())
        except BaseException as error:  # noqa: BLE001 - SystemExit of one run must not end its neighbours'
            return self._cut_short() or self._failed(error)
        return self._cut_short() or verdict

    def _cut_short(self) -> Verdict | None:
        """The verdict on a run that was not let to its end, whatever its code made of that."""
        return self._suspended or (self._interrupted() if self._why else None)

    async def _output(self) -> str:
        claim, task, agent = self.claim, self.claim.task, self._agent
        if agent is None:
            raise UnknownAgent(f"this worker has no agent {task.agent!r}; deploy it, then submit again")
        store = self._tools.artifacts(task.tenant)
        left, _ = limit(claim)
        facts = RunFacts(Mode.BACKGROUND, task.id, left, task.attempts, task.tenant, claim.emitted, task.session)
        journal = Journal(claim.journal)
        durable = Durable(
            *(claim, self._policy, self.line, self.lease),
            *(self._tools.pace, self._tools.callees, self._arrived, self._tools.result_bytes),
        )
        self._waits = Waits(
            task.ref, journal, durable, self._suspend, signals=claim.signals, sent=task.signals, started=claim.started
        )
        for news in self._news:
            self._waits.hear(news)
        context = RunContext(
            facts, journal, durable, store, self._waits, keeper=self._keeper(facts.session), place=self._place()
        )
        given = read_input(type(agent), task.input)
        with reading_from(store):
            output = await agent.run(context, given)
        return within_limit(self._tools.result_bytes, write_output(type(agent), output))

    def _place(self) -> Placed:
        task, base = self.claim.task, self._policy.resources
        return Placed(task, base, self._tools.shape or base, self._tools.lines(task.agent))

    def _keeper(self, session: str | None) -> SessionKeeper | None:
        """What the task's session remembers; an attempt waits for a ledger that is away."""
        if session is None:
            return None
        task, tools = self.claim.task, self._tools
        return SessionKeeper(
            tools.sessions, (task.tenant, task.agent, session), tools.result_bytes, pauses=tools.pace.pauses
        )

    def _interrupted(self) -> Verdict:
        task = self.claim.task
        match self._why:
            case Why.TIMEOUT:
                return self._failed(TimedOut(f"the attempt ran longer than {task.timeout:g} s"))
            case Why.EXPIRED:
                return Verdict(Ending.FAILED, error=verdicts.expired(task))
            case Why.CANCEL:
                return Verdict(Ending.CANCELED)
            case _:
                return Verdict(Ending.RELEASED)

    def _failed(self, error: BaseException) -> Verdict:
        task, pace = self.claim.task, self._tools.pace
        log.error("attempt %d of %s failed", task.attempts, task.agent, exc_info=error)
        return verdicts.failed(
            error,
            attempt=task.attempts,
            used=task.used,
            max_attempts=task.max_attempts,
            retry=verdicts.policy(task, self._policy.retry),
            now=pace.now(),
            roll=pace.roll(),
        )


def _as_stored(wait: Wait) -> waits.Waits:
    return waits.Waits(
        wait.until,
        () if wait.signal is None else (wait.signal,),
        () if wait.group is None else ((wait.group, wait.left()),),
    )
