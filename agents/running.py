"""A run's context: steps are looked up, run and recorded here, whoever records them."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .agent import Agent
from .artifacts import Artifact, ArtifactStore, keep
from .batching import refuse_in_batch
from .branches import Branches, Wait
from .calling import call, heeding_cancel
from .children import Target, outcome, received, several, target
from .context import Mode
from .errors import NeedsBackground, RubatoError, SignalTimeout, StepError, StepOutcomeUnknown
from .events import Emit, Emitted, written
from .failures import mark
from .host import Leave, Live, Place, Recorder, RunFacts
from .ids import derived_id
from .journal import Cursor, Journal, StepId, StepRecord
from .memory import Keeper, Memory, RunMemory, SessionMemory
from .resources import Resources
from .stepvalues import digest_of, read_as, type_of, usable, written_as
from .waits import TIMED_OUT, Call, Waits

T = TypeVar("T")
_step: ContextVar[StepId | None] = ContextVar("rubato_step", default=None)
_UNPARKED = Branches(time.time, lambda waits: None)  # of all runs whose hosts cannot wait: no branch of theirs does


class RunContext:
    """The Context of one run, over a journal of what is recorded and a recorder for what comes.

    Without `waits` its host cannot wait: the run has a caller who does. `leave` then has the run go on in the
    background, for a reason, and does not return here; without it the caller takes no task. `live` has other agents
    answer meanwhile, `keeper` has the state of the run's session, and `place` says which steps may run here: else all.
    """

    def __init__(
        self,
        facts: RunFacts,
        journal: Journal,
        recorder: Recorder,
        artifacts: ArtifactStore,
        waits: Waits | None = None,
        leave: Leave | None = None,
        live: Live | None = None,
        keeper: Keeper | None = None,
        place: Place | None = None,
    ) -> None:
        self._facts = facts
        self._journal = journal
        self._recorder = recorder
        self._artifacts = artifacts
        self._waits = waits
        self._leave = leave
        self._live = live
        self._place = place
        self._guest = place is not None and place.guest
        self._branches = waits.branches if waits else _UNPARKED
        self._cursor = Cursor()
        self._emits: defaultdict[StepId | None, int] = defaultdict(int)
        self._began = time.monotonic()
        self._ends = self._began + facts.timeout
        self._began_at = time.time()
        self._keeper = keeper
        self._memory: Memory | None = None  # until it is asked for

    @property
    def mode(self) -> Mode:
        return self._facts.mode

    @property
    def task_id(self) -> str:
        return self._facts.task_id

    @property
    def attempt(self) -> int:
        return self._facts.attempt

    @property
    def tenant(self) -> str:
        return self._facts.tenant

    @property
    def session(self) -> str | None:
        return self._facts.session

    @property
    def memory(self) -> Memory:
        if self._memory is None:
            self._memory = self._remembering()
        return self._memory

    def _remembering(self) -> Memory:
        session, keeper = self._facts.session, self._keeper
        if session is None or keeper is None:
            return RunMemory()
        me = weakref.proxy(self)  # else each would keep the other, until the garbage is collected
        return SessionMemory(session, keeper, lambda *step: me._own(*step), lambda step: me._key_of(step))

    @property
    def deadline(self) -> datetime:
        return datetime.fromtimestamp(self._began_at + self._ends - self._began, UTC)

    def remaining(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    def reach(self, ends: float) -> None:
        """Somebody waits for this run until that moment of time.monotonic()."""
        self._ends = ends

    @property
    def step_key(self) -> str:
        step = _here()
        if step is None:
            raise RubatoError("step_key is asked for outside of a step")
        return self._key_of(step)

    def _key_of(self, step: StepId) -> str:
        return derived_id(self._facts.tenant, self._facts.task_id, step.name, step.key)

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        key: str | None = None,
        returns: Any = None,
        cancellable: bool = True,
        once: bool = False,
        resources: Resources | None = None,
    ) -> Any:
        """The recorded value of this step, or what `fn(*args)` gives now, once that is recorded."""
        if self._branches.shut:
            await self._branches.hold(_here() is not None)
        outer = _here()
        if outer is not None and key is None:
            raise StepError(name, f"runs inside of step {str(outer)!r}, which a replay skips; give it a key=")
        if outer is not None and resources is not None:
            raise StepError(
                name, f"asks for resources inside of step {str(outer)!r}, which cannot move; ask between steps"
            )
        with self._cursor.enter(name, key) as step:
            digest = digest_of(step, args)
            kind = type_of(step, fn, returns)
            recorded = self._journal.find(step, digest)
            if recorded is not None:
                return read_as(step, kind, recorded.value)
            if (resources is not None or self._guest) and outer is None:
                await self._go_to(step, resources)
            self._branches.begin()
            try:
                await self._may_start(step, once)
                with heeding_cancel():
                    value = await asyncio.ensure_future(_call(step, fn, args, cancellable))
                    return await self._record(step, digest, kind, value)
            finally:
                self._branches.end()

    async def _go_to(self, step: StepId, asked: Resources | None) -> None:
        """Returns where the step may run here; else the run goes on where it may, once nothing of it is in progress."""
        if self._place is None or (needed := self._place.elsewhere(step, asked)) is None:
            return
        if self._waits is None:
            await self._go(why := f"step {step.name!r} needs {needed}", why)
        await self._branches.wait(Wait(lambda: False, lane=needed))

    async def _may_start(self, step: StepId, once: bool) -> None:
        await self._recorder.may_start()
        if not once:
            return
        if self._waits is not None:
            if str(step) in self._waits.started:
                raise StepOutcomeUnknown(str(step))
            self._waits.started.add(str(step))
        await self._recorder.begin(step)
        await self._recorder.may_start()

    async def _record(self, step: StepId, digest: str, kind: Any, value: Any) -> Any:
        """Record the value and return it as every replay will: as it comes back from JSON."""
        text = written_as(step, kind, value)
        read = read_as(step, kind, text)
        await self._keep(StepRecord(step, digest, text))
        return read

    async def _keep(self, record: StepRecord) -> StepRecord:
        try:
            await self._recorder.record(record)
        except asyncio.CancelledError:
            self._journal.add(record)  # it is on its way: the same step again must not run, nor be recorded twice
            raise
        self._journal.add(record)
        return record

    async def _own(self, name: str, args: tuple[Any, ...], reach: Callable[[StepId], Awaitable[str]]) -> str:
        """As agents.memory.Own has it."""
        if self._branches.shut:
            await self._branches.hold(_here() is not None)
        outer = _here()
        if outer is not None:
            raise StepError(name, f"is done inside of step {str(outer)!r}, which a replay skips; do it between steps")
        with self._cursor.enter(name, None) as step, self._branches.moving():
            digest = digest_of(step, args)
            recorded = self._journal.find(step, digest)
            if recorded is not None:
                return recorded.value
            await self._recorder.may_start()
            return (await self._keep(StepRecord(step, digest, await reach(step)))).value

    async def emit(self, event: Emit) -> None:
        """Tell the listeners, unless an earlier attempt already did."""
        if self._branches.shut:
            await self._branches.hold(_here() is not None)
        data = written(event)
        step = _here()
        number = self._emits[step]
        self._emits[step] += 1
        if step is None and number < self._facts.emitted:
            return
        with self._branches.moving():
            await self._recorder.emit(Emitted(event.type, str(step or ""), time.time(), data))

    async def artifact(
        self, data: bytes | Path, *, name: str = "", media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Keep the bytes and return the reference to them."""
        if self._branches.shut:
            await self._branches.hold(_here() is not None)

        def write() -> Artifact:
            content = data.read_bytes() if isinstance(data, Path) else data
            return keep(self._artifacts, content, name=name, media_type=media_type)

        with self._branches.moving():
            return await asyncio.to_thread(write)

    async def promote(self, reason: str) -> None:
        """Go on in the background, where a run is there: there is nothing to do then. Raises NeedsBackground where the
        caller takes nothing but an answer, and StepError inside of a step, which ends before its run can move."""
        if self._facts.mode is Mode.REALTIME:
            outer = _step.get()
            if outer is not None:
                raise StepError(str(outer), "promotes its run; do that between steps")
            await self._go(reason, f"this run leaves real time ({reason})")

    async def _go(self, reason: str, why: str) -> NoReturn:
        if self._leave is None:
            raise NeedsBackground(f"{why}; submit it as a task")
        await self._leave(reason)

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        """Wait until so many seconds are over since the run first came here."""
        async with self._waiting("sleep", key) as (step, waits):
            await waits.sleep(step, seconds)

    async def signal(
        self,
        name: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the moment that it means is recorded
        returns: Any = None,
        key: str | None = None,
    ) -> Any:
        """The payload of the next signal of that name. Raises TimeoutError where none came in time."""
        async with self._waiting(name, key, "signal ") as (step, waits):
            kind = usable(step, Any if returns is None else returns)
            record = await waits.signal(step, name, timeout)
            if record.value == TIMED_OUT:
                raise SignalTimeout(f"no signal {name!r} came in time")
            return received(step, "payload", kind, record.value)

    async def call(
        self, agent: type[Agent[Any, Any]] | str, input: Any, *, key: str | None = None, returns: Any = None
    ) -> Any:
        """The output of another agent, which runs as a task of its own. Raises ChildFailed where it failed."""
        to = target(agent, returns)
        async with self._between(f"call {to.name}", key) as step:
            usable(step, to.kind)
            call = Call(step, digest_of(step, (to.name, input)), to.name, str(step), partial(to.write, input))
            record = await (self._called(call) if self._waits is None else self._waits.call(call))
            return outcome(to, self._child_id(step), record)

    async def map(
        self,
        agent: type[Agent[Any, Any]] | str,
        inputs: Iterable[Any],
        *,
        parallel: int | None = None,
        key: str | None = None,
        returns: Any = None,
    ) -> list[Any]:
        """The outputs of another agent for all inputs, in their order. Raises ChildFailed where one failed."""
        to = target(agent, returns)
        async with self._between(f"map {to.name}", key) as step:
            usable(step, to.kind)
            given = several(step, inputs, parallel)
            with self._branches.moving():
                calls = [each async for each in self._calls(step, to, given)]
            waits = self._waits
            found = await (self._all_called(calls, parallel) if waits is None else waits.map(step, calls, parallel))
            with self._branches.moving():
                return [output async for output in self._outputs(to, found)]

    async def _calls(self, step: StepId, to: Target, inputs: Sequence[Any]) -> AsyncIterator[Call]:
        """A call for each input of a map, whose key is its place."""
        async for place, input in _breathing(inputs):
            child = StepId(step.name, f"{step.key}/{place}")
            yield Call(child, digest_of(child, (to.name, input)), to.name, str(step), partial(to.write, input))

    async def _outputs(self, to: Target, found: Sequence[tuple[Call, StepRecord]]) -> AsyncIterator[Any]:
        async for _, (called, record) in _breathing(found):
            yield outcome(to, self._child_id(called.step), record)

    def _child_id(self, step: StepId) -> str:
        """The id of what this step calls: the same in both modes, and in every attempt."""
        return derived_id(self._facts.tenant, self._facts.task_id, step.name, step.key)

    async def _called(self, call: Call) -> StepRecord:
        """The record of what another agent came to while the caller of this run waits."""
        found = self._journal.find(call.step, call.digest)
        if found is not None:
            return found
        await self._recorder.may_start()
        value = None if self._live is None else await self._live.call(call, self._child_id(call.step))
        if value is None:
            await self._go(f"waits for {call.step.name}", f"this run must wait for {call.step.name!r}")
        return await self._keep(StepRecord(call.step, call.digest, value))

    async def _all_called(self, calls: Sequence[Call], parallel: int | None) -> list[tuple[Call, StepRecord]]:
        """The same for all inputs of a map, so many at once."""
        room = asyncio.Semaphore(parallel or len(calls) or 1)

        async def one(call: Call) -> tuple[Call, StepRecord]:
            async with room:
                return call, await self._called(call)

        found = [asyncio.ensure_future(one(call)) for call in calls]
        try:
            return await asyncio.gather(*found)
        finally:
            for each in found:
                each.cancel()

    @asynccontextmanager
    async def _waiting(self, name: str, key: str | None, kind: str = "") -> AsyncIterator[tuple[StepId, Waits]]:
        """The step that waits here, and who waits for it. A live run leaves, or raises NeedsBackground."""
        async with self._between(name, key, kind) as step:
            if self._waits is None:
                await self._go(f"waits for {kind + name}", f"this run must wait for {kind + name!r}")
            yield step, self._waits

    @asynccontextmanager
    async def _between(self, name: str, key: str | None, kind: str = "") -> AsyncIterator[StepId]:
        """The step that something is waited for in. Raises StepError inside of a step, which holds its worker until it
        ends."""
        if self._branches.shut:
            await self._branches.hold(_here() is not None)
        outer = _here()
        if outer is not None:
            raise StepError(kind + name, f"is waited for inside of step {str(outer)!r}; wait between steps")
        with self._cursor.enter(name, key, kind) as step:
            try:
                yield step
            except Exception as error:
                mark(error, step)
                raise


def _here() -> StepId | None:
    """The step in progress. Raises RubatoError in a batch, which is part of a step of each of several runs."""
    refuse_in_batch()
    return _step.get()


async def _call(step: StepId, fn: Callable[..., Any], args: tuple[Any, ...], cancellable: bool) -> Any:
    """Call the function so that it knows which step it is, and so do its errors."""
    _step.set(step)
    try:
        return await call(fn, args, cancellable=cancellable)
    except Exception as error:
        mark(error, step)
        raise


async def _breathing(items: Sequence[T]) -> AsyncIterator[tuple[int, T]]:
    """The items with their places; where there are many, the loop gets a turn now and then."""
    for place, item in enumerate(items):
        if place % 500 == 499:
            await asyncio.sleep(0)
        yield place, item
