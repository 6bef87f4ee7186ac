"""What a worker knows of the agents that its runs may call, most of which it cannot run itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents import Agent
from agents.agent import version_of
from agents.children import deeper
from agents.errors import UnknownAgent
from agents.waits import Child

from .claims import Called
from .schedule import Policy
from .task import Origin, Task

Callees = Mapping[str, Policy]


def callees_of(agents: Iterable[type[Agent[Any, Any]]]) -> dict[str, Policy]:
    """Those of these agents that run in the background, by name."""
    return {
        agent.name: Policy(version_of(agent), agent.background.timeout, agent.background.max_attempts)
        for agent in agents
        if agent.background is not None
    }


def called(parent: Task, child: Child, known: Callees) -> Called:
    """What the ledger is told of a call. Raises UnknownAgent, or StepError for calls that go too deep."""
    origin = parent.origin
    depth = deeper(child.step, origin.depth if origin else 0)
    callee = known.get(child.agent)
    if callee is None:
        there = ", ".join(sorted(known)) or "none"
        raise UnknownAgent(f"no agent {child.agent!r} runs in the background here; those that do: {there}")
    made = Origin(child.step.name, child.step.key, child.digest, child.group, depth)
    return Called(child.id, child.agent, callee.version, child.input, callee.max_attempts, callee.timeout, made)
