"""Faults of our own making, by which the simulation proves that it would find them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster import reporting, sqlite
from cluster.book import Book, Holding
from cluster.claims import Beat, Claim, Held, Picture
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.postgres_writer import Writer
from cluster.ready import Ready
from cluster.store import Progress, Queue, StoreFailed, Writes
from cluster.task import Task
from cluster.ticks import Ticks

from .runs import Run

Patch = Callable[[Any, str, Any], None]


def no_fence(patch: Patch) -> None:
    """Any claim may report, not the newest alone."""

    def newest(book: Book, worker: str, claim: Held) -> Holding | None:
        return book.running.get(claim[:2])

    patch(Book, "newest", newest)


def no_report_numbers(patch: Patch) -> None:
    """After a restart nobody knows which reports were applied."""

    async def progress(store: MemoryStore, tenant: str, id: str, fence: int) -> Progress:
        return (await found(store, tenant, id, fence))._replace(report=0)

    found = MemoryStore.progress
    patch(MemoryStore, "progress", progress)


def no_isolation(patch: Patch) -> None:
    """Who may have taken a worker down runs beside others."""
    patch(reporting, "_suspect", lambda book, holding: book.requeue(holding, counted=False))


def deaf_parents(patch: Patch) -> None:
    """What a task waits for does not wake it."""
    patch(Book, "wake", lambda book, task, **changes: book.put(task.but(**changes), task.state))


def lost_alarms(patch: Patch) -> None:
    """A queue whose alarm rings does not set the next."""

    async def ring(ready: Ready, now: float, _: Writes) -> None:
        for queue in list(ready._alarms.due(now)):
            ready.know(queue)

    patch(Ready, "_ring", ring)


def forgetful_attempts(patch: Patch) -> None:
    """A failed attempt is not counted."""

    def requeue(book: Book, holding: Holding, *, counted: bool, **changes: Any) -> None:
        found(book, holding, counted=False, **changes)

    found = Book.requeue
    patch(Book, "requeue", requeue)


def unread_cancels(patch: Patch) -> None:
    """The cancel of a running task is answered, and not kept."""

    def put(book: Book, task: Task, was: str, left: str | None = None) -> None:
        if task.state != "running" or was != "running" or task.cancel_requested_at is None:
            found(book, task, was, left)

    found = Book.put
    patch(Book, "put", put)


def no_lanes(patch: Patch) -> None:
    """A task goes to any worker that runs its agent."""
    patch(Queue, "line", property(lambda queue: queue.agent))
    patch(Task, "line", property(lambda task: task.agent))


def uncounted_lanes(patch: Patch) -> None:
    """After a restart nobody knows how many tasks are in lanes."""

    async def lanes(store: MemoryStore) -> list[tuple[str, str, str, int]]:
        return []

    patch(MemoryStore, "lanes", lanes)


def homeless_moves(patch: Patch) -> None:
    """A run that must go on elsewhere is queued where it was."""

    def relocate(book: Book, holding: Holding, lane: str, *, ran: float) -> None:
        found(book, holding, holding.task.lane, ran=ran)

    found = Book.relocate
    patch(Book, "relocate", relocate)


def blind_leases(patch: Patch) -> None:
    """A worker begins steps whether its lease holds or not."""

    async def may_start(run: Run) -> None:
        return

    patch(Run, "_may_start", may_start)


def hasty_beats(patch: Patch) -> None:
    """A heartbeat is told what a tick under way does, which may fail."""

    async def beat(ledger: Ledger, worker: str, seen: Picture) -> Beat:
        return reporting.beat(ledger.book, worker, seen)[0]

    patch(Ledger, "beat", beat)


def no_sync(patch: Patch) -> None:
    """SQLite does not ask for what it writes to be kept."""
    patch(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "synchronous=off"))


def late_sync(patch: Patch) -> None:
    """SQLite syncs its log before it is copied to the database, and not at every commit."""
    patch(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "synchronous=normal"))


def believed_commits(patch: Patch) -> None:
    """Who loses a connection in a commit takes it for one that has happened."""

    async def has_happened(writer: Writer, tick: int, why: Exception) -> bool:
        await found(writer, tick, why)
        return True

    found = Writer._has_happened
    patch(Writer, "_has_happened", has_happened)


def forgotten_versions(patch: Patch) -> None:
    """Nobody remembers which version began a task."""

    def claim(book: Book, task: Task, worker: str, call: int, version: str = "") -> Claim:
        return found(book, task, worker, call)

    found = Book.claim
    patch(Book, "claim", claim)


def faithful_for_ever(patch: Patch) -> None:
    """Tasks wait for a version that nobody has any more."""

    async def release(ledger: Ledger, agent: str, lane: str, reason: str) -> int:
        return 0

    patch(Ledger, "release", release)


def dropped_moves(patch: Patch) -> None:
    """What was made beside a commit that failed is not made again."""
    patch(Ticks, "_drop_ahead", lambda ticks: setattr(ticks, "_ahead", None))


def faith_in_failure(patch: Patch) -> None:
    """A tick that was made ahead goes on with the book of one that failed."""

    async def finish(ticks: Ticks, tick: Any, *, alone: bool = False) -> None:
        try:
            await original(ticks, tick, alone=alone)
        except StoreFailed:
            if ticks._ahead is None:
                raise

    original = Ticks._finish
    patch(Ticks, "_finish", finish)


SABOTAGE: dict[str, Callable[[Patch], None]] = {
    found.__name__: found
    for found in (
        no_fence,
        no_report_numbers,
        no_isolation,
        deaf_parents,
        lost_alarms,
        forgetful_attempts,
        unread_cancels,
        no_lanes,
        uncounted_lanes,
        homeless_moves,
        forgotten_versions,
        faithful_for_ever,
        blind_leases,
        hasty_beats,
        no_sync,
        late_sync,
        believed_commits,
        dropped_moves,
        faith_in_failure,
    )
}
NEEDS = {
    "no_sync": "cuts",
    "late_sync": "cuts",
    "believed_commits": "postgres",
}  # a store in which it shows; the others show in any
