"""Where the run of a claim is, and which of its steps need another worker."""

from __future__ import annotations

from dataclasses import replace

from agents import Resources
from agents.errors import StepError
from agents.journal import StepId
from agents.resources import covers

from .lanes import ANY, Lane, line, words
from .task import Task


class Placed:
    """As agents.host.Place has it: what a step needs is the lane of a worker for it."""

    __slots__ = ("_base", "_home", "_lane", "_market", "_shape", "_version", "guest")

    def __init__(self, task: Task, base: Resources, shape: Resources, lines: tuple[str, ...]) -> None:
        """`base` is what the agent's runs take, `shape` what this worker does, and `lines` are those of the agent that
        it serves."""
        self._base = base
        self._shape = shape
        self._lane = task.lane
        self._home = task.home
        self._market = task.market
        self._version = Lane.parse(task.lane).version
        self.guest = task.lane != task.home and line(task.agent, task.home) not in lines

    def elsewhere(self, step: StepId, asked: Resources | None) -> str | None:
        """The lane in which the step may run, None where it may here. Raises StepError where it could in none."""
        if asked is None:
            return self._home if self.guest else None
        if covers(self._shape, asked):
            return None
        lane = self._lane_of(step, asked).text
        return None if lane == self._lane else lane

    def _lane_of(self, step: StepId, asked: Resources) -> Lane:
        if ANY not in (asked.market, self._market) and asked.market != self._market:
            wants, has = (words(Lane(market).text) for market in (asked.market, self._market))
            raise StepError(str(step), f"asks for {wants}, and its task may run on {has} only")
        market: str = self._market if asked.market == ANY else asked.market
        shape = replace(asked, market="any")
        return Lane(market, None if covers(self._base, shape) else shape, self._version)
