"""What is measured of an agent in real time, whoever counts it."""

from __future__ import annotations

from typing import Protocol


class Measures(Protocol):
    """Of one replica; durations in seconds. Labels have few values: none is a tenant, a key, or a text of an agent."""

    def answered(self, answer: str, seconds: float) -> None:
        """A caller got this kind of answer so long after its request: `full`, `cached`, `stale`, `simple` or `task`."""

    def failed(self, kind: str) -> None:
        """A caller got none: `busy` at the door, `late` at its deadline, `unconfirmed` where nobody knows whether the
        run is a task, or `error` where the agent failed."""

    def first_event(self, seconds: float) -> None:
        """The first event of a stream went to its listener so long after the request."""

    def joined(self) -> None:
        """A request shares the run of an equal one."""

    def promoted(self, why: str) -> None:
        """A run went on as a task: since it was `late`, its `agent` said so, it had to `wait`, there was no room
        (`busy`), its replica ends (`drain`) or its caller's run left (`caller`)."""

    def load(self, running: int, waiting: int) -> None:
        """So many runs there are now, and so many requests in line."""


class Unmeasured:
    """Nobody counts."""

    def answered(self, answer: str, seconds: float) -> None:
        return

    def failed(self, kind: str) -> None:
        return

    def first_event(self, seconds: float) -> None:
        return

    def joined(self) -> None:
        return

    def promoted(self, why: str) -> None:
        return

    def load(self, running: int, waiting: int) -> None:
        return


REASONS = {"late": "late", "drain": "drain", "busy": "busy", "its caller leaves": "caller"}


def why(reason: str) -> str:
    """The label of a reason that a run left for, which may be any text of its agent."""
    return REASONS.get(reason) or ("wait" if reason.startswith("waits for ") else "agent")
