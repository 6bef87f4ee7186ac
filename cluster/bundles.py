"""Many records in one, as they travel: plain tuples take a third of the time in which NamedTuples are pickled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.journal import StepId, StepRecord

from .claims import Claim, Entry, Report, StepDone, Verdict
from .task import Task

Unpacked = tuple[Callable[[Sequence[Any]], Any], tuple[Sequence[Any]]]

_made: Callable[..., Any] = tuple.__new__  # of a NamedTuple, from as many values as it has


class Tasks(tuple[Task, ...]):
    """Those of one submission."""

    __slots__ = ()

    def __reduce__(self) -> Unpacked:
        return _tasks, (tuple(map(tuple, self)),)


class Claims(tuple[Claim, ...]):
    """What one answer hands over."""

    __slots__ = ()

    def __reduce__(self) -> Unpacked:
        return _claims, (tuple((tuple(claim.task), *claim[1:]) for claim in self),)


class Reports(tuple[Report, ...]):
    """What one call brings up."""

    __slots__ = ()

    def __reduce__(self) -> Unpacked:
        return _reports, (tuple(map(_report, self)),)


def _tasks(rows: Sequence[Any]) -> Tasks:
    return Tasks([_made(Task, row) for row in rows])


def _claims(rows: Sequence[Any]) -> Claims:
    return Claims([_made(Claim, (_made(Task, task), *rest)) for task, *rest in rows])


def _report(report: Report) -> tuple[Any, ...]:
    *claim, entries, verdict = report
    return (*claim, tuple(map(_entry, entries)), None if verdict is None else tuple(verdict))


def _reports(rows: Sequence[Any]) -> Reports:
    return Reports(
        [
            _made(Report, (*claim, tuple(map(_entry_of, entries)), verdict and _made(Verdict, verdict)))
            for *claim, entries, verdict in rows
        ]
    )


def _entry(entry: Entry) -> Entry | tuple[Any, ...]:
    """A recorded step as one tuple; of all else there is little."""
    if type(entry) is not StepDone:
        return entry
    (id, digest, value), at, signal = entry
    return (*id, digest, value, at, signal)


def _entry_of(found: Entry | tuple[Any, ...]) -> Entry:
    if type(found) is not tuple:
        return found  # type: ignore[return-value]
    name, key, digest, value, at, signal = found
    return StepDone(StepRecord(StepId(name, key), digest, value), at, signal)
