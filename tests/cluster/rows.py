"""Rows that tests commit to a store."""

from __future__ import annotations

from cluster.store import EventRow, StepRow, Writes, tally
from cluster.task import Task


def new(*tasks: Task) -> Writes:
    counts = tally()
    for t in tasks:
        counts[t.agent, str(t.state)] += 1
    return Writes(new={t.ref: t for t in tasks}, counts=counts)


def moved(*tasks: Task) -> Writes:
    return Writes(moved={t.ref: t for t in tasks})


def step_row(of: Task, name: str, seq: int, *, fence: int = 1, report: int = 1) -> StepRow:
    return StepRow(of.tenant, of.id, name, "#0", "d", '"v"', seq, 1, 5.0, fence, report)


def event_row(of: Task, seq: int, type: str = "progress", *, step: str = "", attempt: int = 1) -> EventRow:
    return EventRow(of.tenant, of.id, seq, type, 5.0, attempt, step, "{}", 1, 2)
