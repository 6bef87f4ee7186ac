"""Other agents' replicas, reached over Serve's handles."""

from __future__ import annotations

import logging
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

from .subagents import SubAsk, SubTold

log = logging.getLogger(__name__)


class Handles:
    """One handle for each agent that was called, kept."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    async def ask(self, agent: str, ask: SubAsk) -> SubTold | None:
        """As subagents.Reach has it."""
        handle = self._handle(agent)
        return None if handle is None else SubTold(*await handle.sub.remote(tuple(ask)))

    async def leave(self, agent: str, task_id: str) -> None:
        handle = self._handle(agent)
        if handle is not None:
            await handle.broadcast("leave_run", task_id).results_async()

    def _handle(self, agent: str) -> Any:
        """None where the agent has no application."""
        if agent not in self._handles:
            try:
                self._handles[agent] = serve.get_app_handle(f"agent-{agent}")
            except RayServeException as error:
                log.info("agent %s does not answer in real time: %s", agent, error)
                return None
        return self._handles[agent]
