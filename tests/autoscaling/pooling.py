"""A Rubato's background on an autoscaled cluster, and what tests of its pool ask of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cluster.situation import Rules
from cluster.task import State
from tests.faults.background import Background, background

from .harness import Cluster, autoscaled
from .work import Both, Length, Nap, Render

T = TypeVar("T")

IDLE = 4.0  # seconds that a worker stays that has nothing to do
AGENTS = [f"{agent.__module__}:{agent.__name__}" for agent in (Nap, Render, Both)]


class Site:
    """The cluster, and a Rubato's background on it."""

    def __init__(self, cluster: Cluster, back: Background) -> None:
        self.cluster = cluster
        self._back = back

    def nap(self, agent: str, *seconds: float, within: float = 120) -> list[Any]:
        """On which kinds of nodes these naps went by."""
        return asyncio.run(self._nap(agent, seconds, within))

    async def _nap(self, agent: str, seconds: tuple[float, ...], within: float) -> list[Any]:
        ids = await self._back.submit(agent, *(Length(seconds=each) for each in seconds))
        async with asyncio.timeout(within):
            tasks = await self._back.ended(ids)
        assert {task.state for task in tasks} == {State.COMPLETED}
        return [json.loads(task.output or "null") for task in tasks]

    def until(self, condition: Callable[[], Any], patience: float = 60.0) -> Any:
        return self.cluster.until(condition, patience)

    def gone(self) -> bool:
        """Whether nothing is left but the head."""
        return not self.cluster.machines() and not self.cluster.nodes()


@contextmanager
def pooled(folder: Path, *, patience: float) -> Iterator[Site]:
    """`patience`: seconds that a spot node is waited for."""
    rules = Rules(idle=IDLE, patience=patience)
    with autoscaled() as cluster, background(folder, AGENTS, workers=4, rules=rules) as back:
        yield Site(cluster, back)
