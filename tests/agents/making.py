"""A run's context without a host, a recorder that remembers, and a function that counts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents import Mode
from agents.artifacts import ArtifactStore, FolderArtifacts
from agents.events import Emitted
from agents.host import RunFacts
from agents.journal import Journal, StepId, StepRecord
from agents.running import RunContext

SCRATCH = tempfile.TemporaryDirectory(prefix="rubato-tests-")


class Notes:
    """A recorder that remembers steps and events in their order, and can be held or made to fail."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.events: list[Emitted] = []
        self.order: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def may_start(self) -> None:
        await self.gate.wait()

    async def record(self, step: StepRecord) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.steps.append(step)
        self.order.append(str(step.id))

    async def emit(self, event: Emitted) -> None:
        await asyncio.sleep(0)
        self.events.append(event)
        self.order.append(event.type)

    async def begin(self, step: StepId) -> None:
        await asyncio.sleep(0)
        self.order.append(f"begin {step}")


class Counting:
    """A function that knows how often it ran."""

    def __init__(self) -> None:
        self.ran: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> list[Any]:
        self.ran.append(args)
        return list(args)


def context(
    journal: Journal | None = None,
    notes: Notes | None = None,
    *,
    mode: Mode = Mode.BACKGROUND,
    task_id: str = "task",
    tenant: str = "",
    attempt: int = 1,
    timeout: float = 60,
    emitted: int = 0,
    artifacts: ArtifactStore | None = None,
) -> RunContext:
    """One attempt over what the journal holds; each call is an attempt of its own."""
    facts = RunFacts(mode, task_id, timeout, attempt, tenant, emitted)
    store = artifacts or FolderArtifacts(Path(SCRATCH.name))
    return RunContext(facts, Journal() if journal is None else journal, notes or Notes(), store)


async def live_then_replayed(fn: Callable[..., Any], *args: Any, returns: Any = None) -> tuple[Any, Any]:
    """What a step gives when it runs in real time, and when the background replays it; it may run only once."""
    journal, replay = Journal(), Notes()
    first = await context(journal, mode=Mode.REALTIME).step("step", fn, *args, returns=returns)
    again = await context(journal, replay, mode=Mode.BACKGROUND).step("step", fn, *args, returns=returns)
    assert replay.steps == []
    return first, again
