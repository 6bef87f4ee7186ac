"""Many records in one, as they travel: plain tuples take a third of the time in which NamedTuples are pickled.

Whoever reads them may be of an older or of a newer version, as in a rolling update: what a record lacks has its
default, and what it has more is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from agents.journal import StepId, StepRecord

from .claims import Claim, Entry, Report, StepDone, Verdict
from .task import Task

Unpacked = tuple[Callable[[Sequence[Any]], Any], tuple[Sequence[Any]]]

T = TypeVar("T", bound=tuple[Any, ...])


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


def _made(kind: type[T], row: Sequence[Any]) -> T:
    """The NamedTuple of these values."""
    fields = len(cast(Any, kind)._fields)  # there is no type of all NamedTuples
    return tuple.__new__(kind, row) if len(row) == fields else kind(*row[:fields])


def _tasks(rows: Sequence[Any]) -> Tasks:
    return Tasks([_made(Task, row) for row in rows])


def _claims(rows: Sequence[Any]) -> Claims:
    return Claims([_made(Claim, (_made(Task, task), *rest)) for task, *rest in rows])


def _report(report: Report) -> tuple[Any, ...]:
    entries, verdict = tuple(map(_entry, report.entries)), report.verdict
    return (*report[:4], entries, None if verdict is None else tuple(verdict))


def _reports(rows: Sequence[Any]) -> Reports:
    return Reports([_report_of(*row) for row in rows])


def _report_of(tenant: str, id: str, fence: int, number: int, entries: Sequence[Any], verdict: Any, *_: Any) -> Report:
    made = None if verdict is None else _made(Verdict, verdict)
    return Report(tenant, id, fence, number, tuple(map(_entry_of, entries)), made)


def _entry(entry: Entry) -> Entry | tuple[Any, ...]:
    """A recorded step as one tuple; of all else there is little."""
    if type(entry) is not StepDone:
        return entry
    (id, digest, value), *rest = entry
    return (*id, digest, value, *rest)


def _entry_of(found: Entry | tuple[Any, ...]) -> Entry:
    if type(found) is not tuple:
        return cast(Entry, found)
    name, key, digest, value, *rest = found
    return _made(StepDone, (StepRecord(StepId(name, key), digest, value), *rest))
