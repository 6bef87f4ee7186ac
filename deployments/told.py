"""What callers of an agent in real time are told: an answer, which kind it is, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from agents import RubatoError
from agents.errors import Overloaded
from cluster.task import Task

from .ladder import Rung
from .problems import Problem, problem_of, too_late
from .promotion import Unconfirmed

UNCONFIRMED = (
    "The run was to go on as a task, and the ledger did not confirm that it does: GET /v1/tasks/{id}, with the Task-Id "
    "of this answer, tells. If there is no such task, ask again."
)


class DeadlinePassed(RubatoError):
    """The caller waited for as long as it would, or as the agent's deadline allows; the run was cancelled."""


class NoRoom(Overloaded):
    """Every slot is taken, and so is every place in line that would help."""


class Told(NamedTuple):
    """An answer: the output as JSON, which kind it is, the run that gave it, and its age where it was kept. `task` is
    what goes on in the background: in place of an output, or for the full one."""

    output: bytes
    rung: Rung
    task_id: str
    age: float | None = None
    task: Task | None = None
    reason: str = ""  # why the run went there


def problem_of_run(error: Exception) -> Problem:
    """The problem that answers a run that ended in `error`."""
    if isinstance(error, DeadlinePassed):
        return too_late(str(error))
    problem = problem_of(error)
    if isinstance(error, Unconfirmed):
        return replace(problem, detail=UNCONFIRMED, headers=(*problem.headers, ("Task-Id", error.task_id)))
    return problem


def kind_of(error: Exception) -> str:
    """How an answer that there is not is counted, as Measures.failed has it."""
    kinds = {NoRoom: "busy", DeadlinePassed: "late", Unconfirmed: "unconfirmed"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "error")


def passed(agent: str, patience: float) -> DeadlinePassed:
    """What is raised at the deadline, so many seconds after the request."""
    return DeadlinePassed(
        f"Agent {agent!r} did not answer within {patience:g} s; the run was cancelled. Ask again, or submit it as a "
        "task, which may take longer."
    )
