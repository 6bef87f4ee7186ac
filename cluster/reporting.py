"""What becomes of a claim: by its worker's reports and heartbeats, or without them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from agents.events import Emitted

from . import waits
from .book import Book, Holding
from .claims import LEASE, Beat, Called, Ending, Entry, Held, Picture, Report, Verdict
from .families import call_child
from .store import StepRow
from .task import State, Task
from .verdicts import too_large
from .waits import Waits

Known = dict[tuple[str, str], Task]


def report(book: Book, worker: str, report: Report, known: Known) -> bool:
    """Apply a worker's news if its claim is the newest, else change nothing and return False.

    `known` holds those of the children it calls that the store has.
    """
    holding = book.newest(worker, (report.tenant, report.task_id, report.fence))
    if holding is None:
        return False
    if report.number <= holding.reported:
        return True
    holding.reported = report.number
    for entry in report.entries:
        _record(book, holding, report.number, entry, known)
    if report.verdict is not None:
        _settle(book, holding, report.verdict)
    return True


def beat(book: Book, worker: str, seen: Picture) -> tuple[Beat, list[Held]]:
    """Renew the leases of the claims held. Returns what there is to tell the worker, and the claims that were handed
    to it but never arrived."""
    ends = book.clock.monotonic() + LEASE
    lost = []
    for claim in seen.held:
        holding = book.newest(worker, claim)
        if holding is None:
            lost.append(claim)
        else:
            holding.lease_ends, holding.unlisted = ends, False

    def arrived(call: int | None) -> bool:
        """Whether the answer to this call must have."""
        if call is not None:
            return call <= seen.latest and call not in seen.open
        return seen.book == book.id  # handed over before this book was read: all calls of then have ended

    listed = {claim[:2] for claim in seen.held}
    unlisted = [holding for ref, holding in book.by_worker[worker].items() if ref not in listed]
    for holding in unlisted:
        holding.unlisted = True
    missing = [holding.held for holding in unlisted if arrived(holding.call)]
    return Beat(tuple(lost), tuple(cancels(book, worker)), book=book.id), missing


def cancels(book: Book, worker: str) -> list[Held]:
    """The claims of a worker whose cancel was asked for."""
    holdings = book.by_worker[worker].values() if book.canceling else ()
    return [holding.held for holding in holdings if holding.task.cancel_requested_at is not None]


def release(book: Book, claims: Iterable[Held]) -> None:
    """Give claims back as if they had never been made; one that is not the newest changes nothing."""
    for claim in claims:
        holding = book.running.get(claim[:2])
        if holding is not None and holding.task.fence == claim[2]:
            book.requeue(holding, counted=False)


def refuse(book: Book, claims: Iterable[Held]) -> None:
    """End the tasks that no worker can be handed any more; a claim that is not the newest changes nothing."""
    for claim in claims:
        holding = book.running.get(claim[:2])
        if holding is not None and holding.task.fence == claim[2]:
            book.finish(holding, State.FAILED, error=too_large(holding.task))


def worker_lost(book: Book, worker: str, *, fault: bool) -> None:
    """Free all that a worker held, together; `fault` if its process died on a node that lives.

    Such a death is some task's fault, nobody knows whose: its tasks run again one at a time, and only one that takes
    a worker down while alone on it has used up an attempt.
    """
    for holding in list(book.by_worker[worker].values()):
        if fault:
            _suspect(book, holding)
        else:
            book.requeue(holding, counted=False)
    book.forget_worker(worker)


def renew_all(book: Book) -> None:
    """Begin the lease anew of everybody who may be heard again."""
    ends = book.clock.monotonic() + LEASE
    for holding in book.running.values():
        if not holding.is_away:
            holding.lease_ends = ends


def expire(book: Book) -> list[Holding]:
    """Take back the claims whose lease has run out, and say which. Those of another cluster's workers are no sign that
    one of them died, and nor are those that a worker did not list when it was heard: nothing is counted."""
    now = book.clock.monotonic()
    lapsed = [holding for holding in book.running.values() if holding.lease_ends <= now]
    for holding in lapsed:
        if holding.is_away:
            book.requeue(holding, counted=False)
            book.news.pop(holding.worker, None)
        elif holding.unlisted:
            book.requeue(holding, counted=False)
        else:
            _suspect(book, holding)
    return lapsed


def _record(book: Book, holding: Holding, report: int, entry: Entry, known: Known) -> None:
    if isinstance(entry, Called):
        call_child(book, holding, entry, known)
        return
    task, seq = holding.task, holding.events
    holding.events += 1
    if isinstance(entry, Emitted):
        book.refer(task, entry.data)
        book.event(holding, seq, entry.type, entry.at, entry.step, entry.data, report)
        return
    id, digest, value = entry.record.id, entry.record.digest, entry.record.value
    book.writes.steps.append(
        StepRow(task.tenant, task.id, id.name, id.key, digest, value, seq, task.attempts, entry.at, task.fence, report)
    )
    book.refer(task, value)
    if entry.signal is not None:
        holding.signals.pop(entry.signal, None)
        book.writes.taken.append((task.tenant, task.id, entry.signal))


def _settle(book: Book, holding: Holding, verdict: Verdict) -> None:
    task = holding.task
    if holding.call is not None and verdict.ending is not Ending.RELEASED:
        book.writes.served.append((task.agent, task.lane, book.clock.monotonic() - holding.began))
    match verdict.ending:
        case Ending.COMPLETED:
            if verdict.output is not None:
                book.refer(task, verdict.output)
            book.finish(holding, State.COMPLETED, output=verdict.output, error=None)
        case Ending.CANCELED if task.cancel_requested_at is not None:
            book.finish(holding, State.CANCELED)
        case Ending.FAILED:
            book.finish(holding, State.FAILED, error=verdict.error)
        case Ending.RETRY if task.used >= task.max_attempts:
            book.finish(holding, State.FAILED, error=verdict.error)
        case Ending.RETRY:
            book.requeue(holding, counted=True, run_at=verdict.retry_at, error=verdict.error, isolated=0)
        case Ending.WAITING if verdict.waiting_on is not None:
            _suspend(book, holding, verdict, verdict.waiting_on)
        case Ending.MOVED if task.cancel_requested_at is None:
            book.relocate(holding, verdict.lane, ran=verdict.ran)
        case _:
            book.requeue(holding, counted=False)


def _suspend(book: Book, holding: Holding, verdict: Verdict, waiting_on: str) -> None:
    """Let the run wait; where something has come that it does not know of, and that ends a wait, it goes on at once."""
    task = holding.task
    if task.cancel_requested_at is not None:
        book.finish(holding, State.CANCELED)
        return
    left = _still_waited_for(holding, verdict, waits.read(waiting_on))
    if left is None:
        book.let_go(holding)
        book.wake(task, events=holding.events, worker=None, ran=task.ran + verdict.ran, isolated=0)
    else:
        book.suspend(holding, waits.write(left), until=left.until or 0.0, ran=verdict.ran)


def _still_waited_for(holding: Holding, verdict: Verdict, found: Waits) -> Waits | None:
    """What the run waits for once it has heard all; None if one of its waits is over then.

    Nobody knows what a claim of before the ledger's start has been told of: its next run settles that.
    """
    if holding.call is None or (verdict.ends is None and verdict.heard < holding.news):
        return None
    if verdict.heard >= holding.news:
        return found
    if not set(found.signals).isdisjoint(holding.signals.values()):
        return None
    known = dict(verdict.ends or ())
    left = tuple((group, number - holding.ends[group] + known.get(group, 0)) for group, number in found.children)
    return None if any(number <= 0 for _, number in left) else found._replace(children=left)


def _suspect(book: Book, holding: Holding) -> None:
    task = holding.task
    if not holding.alone:
        book.requeue(holding, counted=False, isolated=1)
        return
    error = json.dumps(
        {
            "type": "worker_died",
            "title": "The worker died",
            "detail": "The worker's process died or fell silent while this task was alone on it.",
            "step": None,
            "attempt": task.attempts,
        }
    )
    if task.used >= task.max_attempts:
        book.finish(holding, State.FAILED, error=error)
    else:
        book.requeue(holding, counted=True, isolated=1, error=error)
