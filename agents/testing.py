"""Run an agent without Ray, crash it at any step, and run it again over what it had recorded."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from .agent import Agent, input_type, output_type, write_output
from .artifacts import Artifact, ArtifactStore, FolderArtifacts, keep, reading_from
from .context import Mode
from .events import Emitted
from .ids import new_id
from .journal import Journal, StepRecord
from .running import RunContext, RunFacts
from .values import decode, encode

In = TypeVar("In")
Out = TypeVar("Out")


class Crash(BaseException):
    """The process died here; a BaseException, so that no agent catches it."""


@dataclass
class _Recorder:
    """Records in memory, dies at the step it was told to, and stays dead: what still runs then gets nowhere."""

    journal: Journal
    crash_before: str | None
    crash_after: str | None
    ran: list[str] = field(default_factory=list)
    events: list[Emitted] = field(default_factory=list)
    died: str = ""

    async def may_start(self) -> None:
        self.live()

    async def record(self, step: StepRecord) -> None:
        self.live()
        names = (step.id.name, str(step.id))
        self.ran.append(str(step.id))
        if self.crash_before in names:
            self._die(f"before {step.id} was recorded")
        self.journal.add(step)
        if self.crash_after in names:
            self._die(f"after {step.id} was recorded")

    async def emit(self, event: Emitted) -> None:
        self.live()
        self.events.append(event)

    def live(self) -> None:
        """Raises Crash once the process has died."""
        if self.died:
            raise Crash(self.died)

    def _die(self, when: str) -> None:
        self.died = when
        self.live()


class Host(Generic[In, Out]):
    """One task of one agent, kept over its attempts: `journal` is what they recorded, `ran` what really ran."""

    def __init__(self, agent: Agent[In, Out], *, mode: Mode = Mode.BACKGROUND, folder: Path | None = None) -> None:
        self.agent = agent
        self.mode = mode
        self.task_id = new_id()
        self.journal = Journal()
        self.ran: list[str] = []
        self.events: list[Emitted] = []
        self.attempts = 0
        self.artifacts: ArtifactStore = FolderArtifacts(folder or self._scratch())
        agent.setup()

    def put(self, path: Path, media_type: str = "application/octet-stream") -> Artifact:
        """Keep a file as an artifact that the run may read."""
        return keep(self.artifacts, path.read_bytes(), name=path.name, media_type=media_type)

    async def run(
        self, input: In, *, crash_before: str | None = None, crash_after: str | None = None, seconds: float = 60
    ) -> Out:
        """One attempt, on the input as it comes back from JSON; the output comes back from JSON too.

        `crash_before` and `crash_after` name a step (`draft`, or `draft#1` for its second): the attempt then ends
        in Crash just before or after that step is recorded.
        """
        self.attempts += 1
        recorder = _Recorder(self.journal, crash_before, crash_after)
        outside = sum(1 for event in self.events if not event.step)
        facts = RunFacts(self.mode, self.task_id, seconds, attempt=self.attempts, emitted=outside)
        context = RunContext(facts, self.journal, recorder, self.artifacts)
        try:
            output = await self._output(context, input)
        except BaseException:
            recorder.live()  # whatever the agent made of the crash, such as an exception group
            raise
        finally:
            self.ran += recorder.ran
            self.events += recorder.events
        recorder.live()
        return output

    def _scratch(self) -> Path:
        """A folder that goes when this host does."""
        folder = tempfile.mkdtemp(prefix="rubato-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    async def _output(self, context: RunContext, input: In) -> Out:
        agent = type(self.agent)
        with reading_from(self.artifacts):
            output = await self.agent.run(context, _read_back(input_type(agent), input))
        write_output(agent, output)
        return cast(Out, _read_back(output_type(agent), output))


def _read_back(kind: Any, value: Any) -> Any:
    return decode(kind, encode(kind, value))
