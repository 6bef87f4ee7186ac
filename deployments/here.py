"""Which steps a replica may run, by what it takes of its node."""

from __future__ import annotations

from agents import Resources
from agents.journal import StepId
from agents.resources import covers
from cluster.lanes import Lane, words


class Here:
    """As agents.host.Place has it: what a step needs is said in words."""

    guest = False

    def __init__(self, shape: Resources) -> None:
        self._shape = shape

    def elsewhere(self, step: StepId, asked: Resources | None) -> str | None:
        """What the step needs that a replica has not; None where it has all."""
        if asked is None or covers(self._shape, asked):
            return None
        return words(Lane(asked.market, asked).text)
