"""Run an agent without Ray, crash it at any step, and run it again over what it had recorded."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from .agent import Agent, input_type, output_type, read_input, write_output
from .artifacts import Artifact, ArtifactStore, FolderArtifacts, keep, reading_from
from .branches import UNWIND, Wait
from .children import deeper
from .context import Mode
from .errors import Permanent, UnknownAgent
from .events import Emitted
from .failures import describe, foremost
from .host import RunFacts
from .ids import new_id
from .journal import Journal
from .policies import Background
from .rehearsal import Crash, Kept, Rehearsal
from .running import RunContext
from .talks import Session
from .values import decode, encode
from .waits import Child, News, SignalSent, Waits

__all__ = ["Crash", "Host", "Session", "Waiting"]

In = TypeVar("In")
Out = TypeVar("Out")

_THE_SAME: Any = object()


class Waiting(Exception):
    """The run waits: for a moment so many `seconds` away, for `signals`, for `children`, by the steps that called them.

    Run it again once one of these has come.
    """

    def __init__(self, seconds: float | None, signals: tuple[str, ...], children: tuple[str, ...]) -> None:
        super().__init__(seconds, signals, children)
        self.seconds = seconds
        self.signals = signals
        self.children = children

    def __str__(self) -> str:
        parts = [] if self.seconds is None else [f"{self.seconds:.3g} s to be over (host.advance)"]
        parts += [f"signal {name!r} (host.send)" for name in self.signals]
        parts += [f"child {step} (host.finish runs it)" for step in self.children]
        return f"the run waits for {', or '.join(parts)}"


@dataclass
class _Family:
    """What a host shares with its children."""

    agents: dict[str, Agent[Any, Any]]
    artifacts: ArtifactStore
    ahead: float = 0.0  # seconds that were skipped

    def now(self) -> float:
        return time.time() + self.ahead


class Host(Generic[In, Out]):
    """One task of one agent, kept over its runs: `journal` is what they recorded, `ran` what really ran.

    Tasks that it calls are `children`, by the step that called each (`call pack#0`): hosts of the given `agents`.
    """

    def __init__(
        self,
        agent: Agent[In, Out],
        *,
        mode: Mode = Mode.BACKGROUND,
        folder: Path | None = None,
        agents: Iterable[Agent[Any, Any]] = (),
        session: Session | None = None,
    ) -> None:
        known: dict[str, Agent[Any, Any]] = {each.name: each for each in (*agents, agent)}
        self._open(agent, mode, _Family(known, FolderArtifacts(folder or self._scratch())), session=session)
        for each in known.values():
            each.setup()

    def _open(
        self,
        agent: Agent[In, Out],
        mode: Mode,
        family: _Family,
        call: Child | None = None,
        depth: int = 0,
        session: Session | None = None,
    ) -> None:
        self.agent = agent
        self.mode = mode
        self.task_id = call.id if call else new_id()
        self.ran: list[str] = []
        self.attempts = 0
        self.children: dict[str, Host[Any, Any]] = {}
        self.outcome: str | None = None  # of a child that has ended, as its parent's journal has it
        self.artifacts = family.artifacts
        self.session = session
        self._family = family
        self._call = call
        self._depth = depth
        self._input: Any = _THE_SAME
        self._sent = 0
        self._kept = Kept(family.now, self._adopt)
        self._live: Waits | None = None

    @property
    def journal(self) -> Journal:
        return self._kept.journal

    @journal.setter
    def journal(self, journal: Journal) -> None:
        self._kept.journal = journal

    @property
    def events(self) -> list[Emitted]:
        return self._kept.events

    def put(self, path: Path, media_type: str = "application/octet-stream") -> Artifact:
        """Keep a file as an artifact that the run may read."""
        return keep(self.artifacts, path.read_bytes(), name=path.name, media_type=media_type)

    def send(self, name: str, payload: Any = None) -> None:
        """Send the task a signal, whether it runs, waits, or has not begun."""
        sent = SignalSent(self._sent, name, encode(Any, payload))
        self._sent += 1
        self._kept.signals[sent.number] = sent
        self._tell(sent)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, for this task, its parent and its children."""
        self._family.ahead += seconds

    async def run(
        self,
        input: In = _THE_SAME,
        *,
        crash_before: str | None = None,
        crash_after: str | None = None,
        seconds: float = 60,
    ) -> Out:
        """One attempt, on the input as it comes back from JSON; the output comes back from JSON too. Without an input
        it is that of the run before.

        `crash_before` and `crash_after` name a step (`draft`, or `draft#1` for its second): the attempt then ends
        in Crash just before or after that step is recorded. Raises Waiting where all that is left is to wait; the
        next run goes on with the same attempt.
        """
        given = self._given(input)
        self.attempts += not self._kept.waited
        self._kept.waited = ()
        with _hurrying() as hurry:
            rehearsal = Rehearsal(self._kept, self._sync, crash_before, crash_after, hurry)
            try:
                output = await self._run(rehearsal, given, seconds)
            except BaseException:
                self._end(rehearsal)
                raise
            self._end(rehearsal)
            return output

    async def finish(
        self,
        input: In = _THE_SAME,
        *,
        crash_before: str | None = None,
        crash_after: str | None = None,
        seconds: float = 60,
    ) -> Out:
        """Run it as often as it waits: its children run meanwhile, and time passes at once. Raises Waiting where only
        a signal would help."""
        while True:
            try:
                return await self.run(input, crash_before=crash_before, crash_after=crash_after, seconds=seconds)
            except Waiting:
                if not await self._until_ready():
                    raise
            input = _THE_SAME

    # one run

    async def _run(self, rehearsal: Rehearsal, given: Any, seconds: float) -> Out:
        journal = Journal(self.journal)
        outside = sum(1 for event in self.events if not event.step)
        session = None if self.session is None else self.session.id
        facts = RunFacts(self.mode, self.task_id, seconds, attempt=self.attempts, emitted=outside, session=session)
        waits = self._waits(journal, rehearsal) if self.mode is Mode.BACKGROUND else None
        context = RunContext(facts, journal, rehearsal, self.artifacts, waits, keeper=self.session)
        self._live = waits
        try:
            return await self._output(context, given)
        finally:
            self._live = None
            if waits is not None:
                waits.branches.close()

    def _waits(self, journal: Journal, rehearsal: Rehearsal) -> Waits:
        kept, task = self._kept, ("", self.task_id)
        signals = kept.signals.values()
        return Waits(
            task, journal, rehearsal, rehearsal.suspend, signals=signals, sent=self._sent, started=kept.started
        )

    def _end(self, rehearsal: Rehearsal) -> None:
        """Keep what was recorded. Raises Crash or Waiting, whatever the agent made of it (an exception group, say)."""
        self.ran += rehearsal.ran
        rehearsal.live()
        rehearsal.flush()
        if rehearsal.waits:
            raise self._waiting(rehearsal.waits) from None

    async def _output(self, context: RunContext, input: Any) -> Out:
        agent = type(self.agent)
        with reading_from(self.artifacts):
            output = await self.agent.run(context, _read_back(input_type(agent), input))
        write_output(agent, output)
        return cast(Out, _read_back(output_type(agent), output))

    def _given(self, input: Any) -> Any:
        if input is not _THE_SAME:
            self._input = input
        elif self._input is _THE_SAME and self._call is not None:
            self._input = read_input(type(self.agent), self._call.input)
        elif self._input is _THE_SAME:
            raise TypeError("the first run needs an input")
        return self._input

    @property
    def _sync(self) -> bool:
        policy = self.agent.background or Background()
        return self.mode is Mode.REALTIME or policy.durability == "sync"

    # waiting

    def _waiting(self, waits: tuple[Wait, ...]) -> Waiting:
        self._kept.wait(waits)
        moments = [wait.until - self._family.now() for wait in waits if wait.until is not None]
        groups = {wait.group for wait in waits}
        called = ((step, child._call) for step, child in self.children.items() if child.outcome is None)
        return Waiting(
            min(moments, default=None),
            tuple(wait.signal for wait in waits if wait.signal is not None),
            tuple(step for step, call in called if call is not None and call.group in groups),
        )

    async def _until_ready(self) -> bool:
        """Let the children run, and time pass, until one of the waits is over; False where that never comes."""
        while not self._kept.ready:
            if not await self._run_children():
                moments = list(self._moments())
                if not moments:
                    return False
                self.advance(max(0.0, min(moments) - self._family.now()) + 0.001)
        return True

    def _moments(self) -> Iterator[float]:
        """When the clock would end a wait, of this task or those below it."""
        yield from (wait.until for wait in self._kept.waited if wait.until is not None)
        for child in self._unfinished():
            yield from child._moments()

    def _unfinished(self) -> list[Host[Any, Any]]:
        return [child for child in self.children.values() if child.outcome is None]

    async def _run_children(self) -> bool:
        """Each child that can go on does, once; whether any could."""
        moved = False
        for child in self._unfinished():
            if child._kept.ready:
                await child._go_on()
                self._heard_from(child)
                moved = True
            else:
                moved |= await child._run_children()
        return moved

    async def _go_on(self) -> None:
        """One run of a child, which has as many attempts as its agent's policy gives it, without a pause."""
        policy = self.agent.background or Background()
        try:
            output = await self.run()
        except Waiting:
            return
        except Exception as raised:  # noqa: BLE001 - somebody else's code
            error = foremost(raised)
            if isinstance(error, Permanent) or self.attempts >= policy.max_attempts:
                self.outcome = f'{{"error":{describe(error, self.attempts)}}}'
        else:
            self.outcome = f'{{"output":{write_output(type(self.agent), output)}}}'

    def _heard_from(self, child: Host[Any, Any]) -> None:
        if child.outcome is not None and child._call is not None:
            self._tell(self._kept.hear(child._call, child.outcome))

    def _tell(self, news: News) -> None:
        if self._live is not None:
            self._live.hear(news)

    def _adopt(self, child: Child) -> None:
        depth = deeper(child.step, self._depth)
        if child.agent not in self._family.agents:
            known = ", ".join(sorted(self._family.agents))
            raise UnknownAgent(f"this host has no agent {child.agent!r}, only {known}: Host(..., agents=[...])")
        if str(child.step) not in self.children:
            host: Host[Any, Any] = Host.__new__(Host)
            host._open(self._family.agents[child.agent], Mode.BACKGROUND, self._family, child, depth)
            self.children[str(child.step)] = host

    def _scratch(self) -> Path:
        """A folder that goes when this host does."""
        folder = tempfile.mkdtemp(prefix="rubato-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def _read_back(kind: Any, value: Any) -> Any:
    return decode(kind, encode(kind, value))


@contextmanager
def _hurrying() -> Iterator[Callable[[], None]]:
    """What it gives has a run that still goes on after a moment cancelled: it awaits what is not of its context."""
    task = asyncio.current_task()
    assert task is not None
    loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    before = task.cancelling()
    try:
        yield lambda: timers.append(loop.call_later(UNWIND, task.cancel))
    finally:
        for timer in timers:
            timer.cancel()
        if timers and task.cancelling() > before:
            task.uncancel()
