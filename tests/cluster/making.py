"""Records that tests start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.events import Emitted
from agents.ids import new_id
from agents.journal import StepId, StepRecord
from cluster import waits
from cluster.book import Clock
from cluster.claims import Called, Claim, Ending, Entry, Hello, Promotion, Report, StepDone, Verdict
from cluster.task import Origin, Submission, Task
from cluster.waits import Waits

AGENT = "echo"
PROMOTED = Emitted("promoted", "", 999_999.0, '{"reason":"late"}')


@dataclass
class ManualClock:
    """Both clocks, moved by hand."""

    time: float = 1_000_000.0

    def advance(self, seconds: float) -> None:
        self.time += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, lambda: self.time)


def task(**changes: Any) -> Task:
    """A queued task of `echo`."""
    fields: dict[str, Any] = {
        "tenant": "",
        "id": new_id(),
        "agent": AGENT,
        "version": "v1",
        "input": '{"text":"hello"}',
        "priority": 0,
        "tags": "[]",
        "batch_id": None,
        "max_attempts": 3,
        "timeout": 60.0,
        "created_at": 1_000_000.0,
    }
    return Task(**(fields | changes))


def submission(*tasks: Task, key: str = "", digest: str = "", batch_id: str | None = None) -> Submission:
    return Submission("", "/v1/tasks", tasks or (task(),), key, digest, batch_id)


def promotion(*entries: Entry, key: str = "", digest: str = "", **changes: Any) -> Promotion:
    """A live run that has reached these entries, of a task with these fields."""
    asked = Submission("", "/v1/agents/echo/run", (task(**changes),), key, digest)
    return Promotion(asked, 999_990.0, (*entries, PROMOTED))


def hello(id: str = "w1", slots: int = 8, agent: str = AGENT) -> Hello:
    return Hello(id, "cpu1", {agent: slots})


def step(name: str = "think", key: str = "#0", value: str = '"v"', digest: str = "d") -> StepDone:
    return StepDone(StepRecord(StepId(name, key), digest, value), 5.0)


def progress(message: str = "hi", step: str = "") -> Emitted:
    return Emitted("progress", step, 6.0, f'{{"message":"{message}"}}')


def report(claim: Claim, number: int, *entries: Entry, verdict: Verdict | None = None) -> Report:
    return Report(claim.task.tenant, claim.task.id, claim.task.fence, number, entries, verdict)


def called(id: str, name: str = "call echo", key: str = "#0", group: str = "", deadline: float | None = None) -> Called:
    """A call of `echo`, by a step of that name and key; those of a map are of one group."""
    return Called(id, AGENT, "v1", "1", 3, 60.0, Origin(name, key, "d", group or name + key, 1), deadline)


def waiting(ran: float = 1.0, heard: int = 0, **on: Any) -> Verdict:
    """The run waits on these."""
    return Verdict(Ending.WAITING, waiting_on=waits.write(Waits(**on)), ran=ran, heard=heard)


COMPLETED = Verdict(Ending.COMPLETED, output='{"text":"hello"}')
