"""What an agent does before its replica takes traffic: it is set up, and then warmed up."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from agents import Agent, Mode
from agents.artifacts import FolderArtifacts, reading_from
from agents.catalog import Entry
from agents.errors import NotLoadable
from agents.host import RunFacts
from agents.ids import new_id
from agents.journal import Journal
from agents.running import RunContext

from .recording import Silence

T = TypeVar("T")
WARMUP_SECONDS = 120.0


async def ready(entry: Entry, seconds: float = WARMUP_SECONDS) -> Agent[Any, Any]:
    """The agent, set up and warmed up. Raises NotLoadable, which says what failed, or took longer than `seconds`."""
    agent = await _told(entry, "setup()", _set_up(entry))
    if entry.agent.warmup is not Agent.warmup:
        await _told(entry, "warmup(ctx)", _in_time(agent, seconds))
    return agent


async def _set_up(entry: Entry) -> Agent[Any, Any]:
    agent = entry.agent()
    await asyncio.to_thread(agent.setup)  # in a thread, so that Serve is answered meanwhile
    return agent


async def _in_time(agent: Agent[Any, Any], seconds: float) -> None:
    """Warm the agent up. One that is late is cancelled and not waited for: what hangs in a thread cannot be ended."""
    warming = asyncio.get_running_loop().create_task(_warm_up(agent, seconds))
    await asyncio.wait({warming}, timeout=seconds)
    if not warming.done():
        warming.cancel()
        raise TimeoutError(f"it had not ended after {seconds:g} s")
    if warming.cancelled():
        raise RuntimeError("it cancelled itself")
    broke = warming.result()
    if broke is not None:
        raise broke


async def _warm_up(agent: Agent[Any, Any], seconds: float) -> BaseException | None:
    """What the agent's own code raised: handed on as a value, since an exit raised in a task ends its loop."""
    with tempfile.TemporaryDirectory(prefix="rubato-", ignore_cleanup_errors=True) as folder:
        artifacts = FolderArtifacts(Path(folder))
        context = RunContext(RunFacts(Mode.REALTIME, new_id(), seconds), Journal(), Silence(), artifacts)
        with reading_from(artifacts):
            try:
                await agent.warmup(context)
            except (Exception, BaseExceptionGroup, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
                return error
    return None


async def _told(entry: Entry, what: str, code: Awaitable[T]) -> T:
    """What somebody else's code gives. Raises NotLoadable where it fails."""
    try:
        return await code
    except (Exception, BaseExceptionGroup, SystemExit, KeyboardInterrupt) as error:
        said = " ".join(str(error).split())
        raise NotLoadable(entry.reference, f"its {what} raised {type(error).__name__}: {said}") from error
