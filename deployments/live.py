"""Answers of one agent while their callers wait: one that is kept, a run's, or what there is in its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from agents import Agent, Mode, Realtime, RubatoError
from agents.agent import has_simple
from agents.artifacts import ArtifactStore
from agents.host import RunFacts
from agents.ids import new_id
from agents.journal import Journal
from agents.running import RunContext
from cluster.keepers import SessionKeeper
from cluster.sessions import SessionLink
from cluster.task import Task

from .answers import CACHE_BYTES, Answer, Answers
from .eager import begin
from .here import Here
from .ladder import FREE, Door, Rung, admit, late
from .measures import Measures, why
from .promotion import Promoter
from .recording import Silence, Telling
from .runs import Ask, Run, agents_own, seen, written
from .slots import Slots
from .subagents import Reach
from .told import NoRoom, Told, kind_of, passed

WATCH_SECONDS = 2.0
SMOOTH = 0.2  # how much the newest counts in the time that a run takes
LEAD = 0.05  # seconds that a run sets out earlier, to be a task by its deadline, until it is known how long that takes
LEAD_LIMIT = 0.1  # and at most, since it is time in which it could have answered

Coming = Coroutine[Any, Any, Told]

log = logging.getLogger(__name__)


class Load(NamedTuple):
    """What a replica has to do: runs in their slots, and in line for one; how many seconds a run takes (0: nobody
    knows); and how many requests have wanted a run of their own since it started."""

    running: int
    waiting: int
    service: float
    arrived: int


class LiveRuns:
    """One replica's runs of one agent. Each is owned here until it really ends, whether or not its caller waits."""

    def __init__(
        self,
        agent: Agent[Any, Any],
        policy: Realtime,
        artifacts: Callable[[str], ArtifactStore],
        promoter: Promoter,
        sessions: SessionLink,
        reach: Reach,
        measures: Measures,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`artifacts` finds those of a tenant."""
        self._agent = agent
        self._policy = policy
        self._here = Here(policy.resources)
        self._artifacts = artifacts
        self._promoter = promoter
        self._sessions = sessions
        self._reach = reach
        self._measures = measures
        self._slots = Slots(policy.slots)
        self._answers = Answers(monotonic, cache_bytes)
        self._shared: dict[str, Run] = {}  # by question: the runs that equal ones may join
        self._runs: set[Run] = set()
        self._left: set[Run] = set()  # those of them that nobody waits for
        self._has_simple = has_simple(type(agent))
        self._reserve = policy.simple_time if self._has_simple else 0.0
        self._simple = 0  # simple answers under way
        self._service = 0.0
        self._lead = LEAD
        self._arrived = 0

    async def answer(self, ask: Ask, telling: Telling | None = None) -> Told:
        """The best answer that there is in time; `telling` hears of the steps and events of its run. Raises what the
        agent raised where it is a RubatoError, RunBroke where it is not, and InvalidOutput; Overloaded where there is
        no room, and at the deadline DeadlinePassed; Unavailable where nobody knows whether the run goes on as a task.

        A run that nobody waits for any more is cancelled, and that is not waited for: a plain function that runs in a
        thread cannot be interrupted.
        """
        told = self.begin(ask, telling)
        return told if isinstance(told, Told) else await told

    def begin(self, ask: Ask, telling: Telling | None = None) -> Told | Coming:
        """As `answer`: what it gives, where that is there at once, and else what to await for it, now."""
        began = monotonic()
        try:
            told = self._best(ask, telling, began + ask.patience)
        except Exception as error:
            self._failed(error)
            raise
        if not isinstance(told, Told):
            return self._measured(told, began)
        self._answered(told, began)
        return told

    async def _measured(self, coming: Coming, began: float) -> Told:
        try:
            told = await coming
        except Exception as error:
            self._failed(error)
            raise
        self._answered(told, began)
        return told

    def _answered(self, told: Told, began: float) -> None:
        self._measures.answered(told.rung, monotonic() - began)

    def _failed(self, error: Exception) -> None:
        self._measures.failed(kind_of(error))

    def _best(self, ask: Ask, telling: Telling | None, ends: float) -> Told | Coming:
        fresh = self._find(ask, self._policy.cache_ttl)
        door = self._door(ask) if fresh is None else Door(fresh=True)
        rung = admit(door)
        if fresh is not None:
            return _kept(rung, *fresh)
        if ask.joins and (run := self._shared.get(_question(ask))) is not None:
            self._measures.joined()
            return self._follow(run, ask, ends)
        self._arrived += 1
        if rung is not Rung.RUN and rung is not Rung.QUEUE:
            return self._without_run(rung, door, ask, ends)
        run = self._begin(ask, telling, ends)
        if run.task.done():  # it had nothing to wait for
            return Told(run.output(), Rung.RUN, run.task_id)
        return self._follow(run, ask, ends)

    async def _without_run(self, rung: Rung, door: Door, ask: Ask, ends: float) -> Told:
        told = await self._instead(rung, ask, ends)
        if told is None and ask.task is not None:
            self._measures.promoted("busy")
            return Told(b"", Rung.TASK, ask.task_id, task=await self._promoter.submit(ask.task), reason="busy")
        if told is None:
            detail = f"Agent {self._agent.name!r} has all its slots in use, and as many callers in line as it takes"
            raise NoRoom(detail, retry_after=door.wait)
        return told

    @property
    def abandoned(self) -> int:
        """How many runs go on that nobody waits for."""
        return len(self._left)

    @property
    def load(self) -> Load:
        """What there is to do now."""
        waiting = self._slots.waiting
        return Load(len(self._runs) - waiting, waiting, self._service, self._arrived)

    async def watch(self) -> None:
        """Tell what there is to do, now and then."""
        while True:
            self._measures.load(*self.load[:2])
            await asyncio.sleep(WATCH_SECONDS)

    def told_first(self, seconds: float) -> None:
        """The first event of a stream went to its listener so long after the request."""
        self._measures.first_event(seconds)

    def leave(self, reason: str) -> None:
        """Have all runs that may do so go on in the background."""
        for run in self._runs:
            run.leave(reason)

    def leave_run(self, task_id: str) -> None:
        """Have this run go on in the background, if it is here."""
        for run in self._runs:
            if run.task_id == task_id:
                run.leave("its caller leaves")

    async def close(self, patience: float = 2.0) -> None:
        """Cancel what still runs and wait a moment for it to end."""
        tasks = {run.task for run in self._runs}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        await self._promoter.close()

    # the run

    def _begin(self, ask: Ask, telling: Telling | None, ends: float) -> Run:
        """Start a run: in a slot that is free, or when one is."""
        run = Run(self._agent.name, ask, ends, self._reach, telling)
        run.has_slot = self._slots.take()
        self._runs.add(run)
        if telling:
            telling.open()
        elif ask.joins:  # one that is told goes no faster than its listener, who may be slow, or gone
            run.shared = _question(ask)
            self._shared[run.shared] = run
        run.task = begin(self._compute(run, ask))
        if run.task.done():
            self._forget(run)
        else:
            run.task.add_done_callback(partial(self._ended, run))
        return run

    async def _compute(self, run: Run, ask: Ask) -> bytes:
        if not run.has_slot:
            await self._slots.wait()
            run.has_slot = True
        began = monotonic()
        facts = RunFacts(Mode.REALTIME, ask.task_id, run.ends - began, 1, ask.tenant, 0, ask.session)
        leave, artifacts = run.left if run.becomes else None, self._artifacts(ask.tenant)
        hosts = (None, leave, run, self._keeper(ask), self._here)
        run.context = RunContext(facts, Journal(), run.recorder, artifacts, *hosts)
        with agents_own(run.name, artifacts):
            output = await self._agent.run(run.context, ask.given)
        text = written(type(self._agent), output)
        took = monotonic() - began
        self._service += (took - self._service) * (SMOOTH if self._service else 1.0)
        if ask.key:
            self._answers.keep(ask.key, text, ask.task_id)
        return text

    async def _follow(self, run: Run, ask: Ask, ends: float) -> Told:
        """What the run gives, or at the last moment what there is in its place."""
        run.reach(ends)
        run.waiters += 1
        try:
            if not await run.over(ends - self._early(run, ask)):
                told = await (self._move(run) if run.wants else self._late(run, ask, ends))
                if told is not None:
                    return told
            return Told(run.output(), Rung.RUN, run.task_id)
        finally:
            run.waiters -= 1
            if not run.waiters and not run.task.done() and run.move is None:
                self._give_up(run)

    def _early(self, run: Run, ask: Ask) -> float:
        """How many seconds before the deadline what comes in place of the run's answer is begun."""
        lead = 0.0 if run.becomes is None else min(self._lead, LEAD_LIMIT)
        return min(self._reserve + lead, ask.patience / 2)

    async def _late(self, run: Run, ask: Ask, ends: float) -> Told | None:
        """What there is for a caller whose time is almost over; None if the run gives its answer after all."""
        stale = self._find(ask, self._stale) is not None
        may_move = run.becomes is not None
        rung = late(stale=stale, simple=self._may_be_simple, task=may_move)
        told = await self._instead(rung, ask, ends)
        if run.task.done():
            return None
        if not may_move:
            if told is None and not await run.over(ends):
                raise passed(run.name, ask.patience)
            return told
        run.leave("late")
        if told is None:
            return await self._move(run)
        with suppress(RubatoError):  # the caller has an answer, and the full one is more than was promised
            moved = await self._move(run)
            return moved and told._replace(task=moved.task)
        return told

    async def _move(self, run: Run) -> Told | None:
        """The run as a task; None if it gives its answer after all."""
        if run.move is None:
            run.move = asyncio.get_running_loop().create_task(self._promote(run))
            run.move.add_done_callback(seen)
            self._measures.promoted(why(run.wants))
        task = await asyncio.shield(run.move)
        return task and Told(b"", Rung.TASK, run.task_id, task=task, reason=run.wants)

    async def _promote(self, run: Run) -> Task | None:
        began = monotonic()
        task = await self._promoter.promote(run)
        took = monotonic() - began
        self._lead = max(took, self._lead + (took - self._lead) * SMOOTH)  # those that leave together take longest
        return task

    def _give_up(self, run: Run) -> None:
        self._left.add(run)
        self._unshare(run)
        run.task.cancel()

    def _ended(self, run: Run, task: asyncio.Task[bytes]) -> None:
        self._forget(run)
        seen(task)
        run.ring()

    def _forget(self, run: Run) -> None:
        """It is over: its slot is free, and nobody joins it."""
        if run.has_slot:
            self._slots.give_back()
        self._runs.discard(run)
        self._left.discard(run)
        self._unshare(run)
        run.context = run.subagents = None  # which know the run: the collector of garbage would have to find them

    def _unshare(self, run: Run) -> None:
        if run.shared and self._shared.get(run.shared) is run:
            del self._shared[run.shared]

    # what there is in its place

    async def _instead(self, rung: Rung, ask: Ask, ends: float) -> Told | None:
        """A stale or a simple answer, if there is one."""
        if rung is Rung.STALE and (stale := self._find(ask, self._stale)) is not None:
            return _kept(Rung.STALE, *stale)
        if rung is Rung.SIMPLE and (output := await self._simply(ask, ends)) is not None:
            return Told(output, Rung.SIMPLE, ask.task_id)
        return None

    async def _simply(self, ask: Ask, ends: float) -> bytes | None:
        """The agent's simple answer, if it gives one in time."""
        left = min(self._policy.simple_time, ends - monotonic())
        facts = RunFacts(Mode.REALTIME, new_id(), left, tenant=ask.tenant, session=ask.session)
        hosts = (None, None, None, self._keeper(ask), self._here)
        artifacts = self._artifacts(ask.tenant)
        context = RunContext(facts, Journal(), Silence(), artifacts, *hosts)
        self._simple += 1
        try:
            async with asyncio.timeout(left):
                with agents_own(self._agent.name, artifacts):
                    output = await self._agent.simple(context, ask.given)
            return None if output is None else written(type(self._agent), output)
        except TimeoutError:
            return None
        except RubatoError as error:
            log.warning("no simple answer: %s", error)
            return None
        finally:
            self._simple -= 1

    # small things

    def _keeper(self, ask: Ask) -> SessionKeeper | None:
        """Of what the session of the run remembers."""
        if ask.session is None:
            return None
        return SessionKeeper(self._sessions, (ask.tenant, self._agent.name, ask.session))

    def _door(self, ask: Ask) -> Door:
        """What there is for a request for which there is no fresh answer."""
        policy, slots = self._policy, self._slots
        if slots.free > 0:
            return FREE
        return Door(
            stale=self._find(ask, self._stale) is not None,
            simple=self._may_be_simple,
            task=ask.task is not None,
            slots=policy.slots,
            waiting=slots.waiting,
            queue=policy.queue,
            service=self._service,
            left=ask.patience,
        )

    def _find(self, ask: Ask, age: float) -> tuple[Answer, float] | None:
        """An answer that is kept, of at most this age and that which the caller takes; and its age."""
        return self._answers.find(ask.key, min(age, ask.oldest)) if ask.key and ask.oldest > 0 else None

    @property
    def _stale(self) -> float:
        return self._policy.cache_ttl + self._policy.stale_ttl

    @property
    def _may_be_simple(self) -> bool:
        return self._has_simple and self._simple < self._policy.slots


def _question(ask: Ask) -> str:
    """What equal questions have in common: those whose callers take a task, and those whose do not, run apart."""
    return f"{ask.key} task" if ask.task else ask.key


def _kept(rung: Rung, answer: Answer, age: float) -> Told:
    return Told(answer.output, rung, answer.task_id, age)
