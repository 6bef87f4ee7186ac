"""Tasks that tasks call: created with the report of their parent's run, and told to it when they have ended."""

from __future__ import annotations

from collections.abc import Iterable

from agents.journal import StepId, StepRecord

from . import waits
from .book import Book, Holding, is_over
from .claims import Called
from .steering import cancel, retry
from .store import StepRow
from .task import TOLD, UNHEARD, UNTOLD, State, Task, extra_json

Known = dict[tuple[str, str], Task]


def call_child(book: Book, holding: Holding, called: Called, known: Known) -> None:
    """Create the child, unless its parent is to be canceled.

    One that exists goes on as it is, unless it ended unheard, its parent having ended before: the parent runs again,
    so what the child came to is told now, or it runs again too.
    """
    parent = holding.task
    ref = (parent.tenant, called.id)
    if is_over(parent):
        return
    there = book.look(ref, known.get(ref))
    if there is not None:
        if there.told == UNHEARD:
            _take_up(book, holding, there)
        return
    deadlines = [at for at in (parent.deadline, called.deadline) if at is not None]
    child = Task(
        tenant=parent.tenant,
        id=called.id,
        agent=called.agent,
        version=called.version,
        input=called.input,
        priority=parent.priority,
        tags="[]",
        batch_id=None,
        max_attempts=called.max_attempts,
        timeout=called.timeout,
        created_at=book.clock.now(),
        limit_key=parent.limit_key,
        deadline=min(deadlines, default=None),
        parent_id=parent.id,
        extra=extra_json(origin=called.origin, market=parent.market),
        lane=parent.first,
    )
    book.accept(child)
    holding.task = parent.but(children=parent.children + 1)
    book.put(holding.task, parent.state)


def tell_parents(book: Book, children: Iterable[Task], known: Known) -> None:
    """Write the outcome of children that have ended into their parents' journals, once."""
    for stored in children:
        child = book.look(stored.ref, known.get(stored.ref))
        if child is None or not child.ended or child.told:
            continue
        parent_ref = (child.tenant, child.parent_id or "")
        parent = book.look(parent_ref, known.get(parent_ref))
        heard = parent is not None and not parent.ended
        book.put(child.but(told=TOLD if heard else UNHEARD), child.state)
        if parent is not None and heard:
            _tell(book, parent, child)


def cancel_children(book: Book, parent: Task | None, children: Iterable[Task]) -> bool:
    """Cancel those that have not ended meanwhile, unless their parent goes on again. Says whether there were any."""
    parent = None if parent is None else book.look(parent.ref, parent)
    if parent is not None and not is_over(parent):
        return False
    found = False
    for stored in children:
        child = book.look(stored.ref, stored)
        if child is not None and not is_over(child):
            found = True
            if child.told != TOLD:  # as one that was retried by itself may be
                _mark(book, child, UNHEARD)
            cancel(book, child.ref, child)
    return found


def outcome(child: Task) -> str:
    """What a child has come to, as its parent's journal keeps it."""
    if child.state == State.COMPLETED:
        return f'{{"output":{child.output}}}'
    error = child.error
    if child.state == State.CANCELED or error is None:  # an error of a canceled task is that of an earlier attempt
        error = '{"type":"canceled","title":"Canceled","detail":"The task was canceled."}'
    return f'{{"error":{error}}}'


def _take_up(book: Book, holding: Holding, child: Task) -> None:
    late = child.deadline is not None and child.deadline <= book.clock.now()
    if not child.ended:
        _mark(book, child, UNTOLD)
    elif child.state == State.COMPLETED or late:
        _mark(book, child, TOLD)
        _tell(book, holding.task, child)
    else:
        retry(book, child.ref, child)


def _mark(book: Book, child: Task, told: int) -> None:
    holding = book.running.get(child.ref)
    if holding is not None:
        holding.task = child = holding.task.but(told=told)
        book.put(child, child.state)
    else:
        book.revise(child, told=told)


def _tell(book: Book, parent: Task, child: Task) -> None:
    origin = child.origin
    assert origin is not None, "a task with a parent was called by a step of it"
    record = StepRecord(StepId(origin.name, origin.key), origin.digest, outcome(child))
    holding = book.running.get(parent.ref)
    seq = parent.events if holding is None else holding.events
    book.writes.steps.append(
        StepRow(
            *(parent.tenant, parent.id, origin.name, origin.key, origin.digest, record.value),
            *(seq, parent.attempts, book.clock.now(), parent.fence, 0),
        )
    )
    book.refer(parent, record.value)
    if holding is not None:
        holding.events += 1
        holding.news += 1
        holding.ends[origin.group] += 1
        book.news[holding.worker].append((holding.held, record))
    elif parent.state == State.WAITING and parent.waiting_on is not None:
        left, woken = waits.after_child(waits.read(parent.waiting_on), origin.group)
        if woken:
            book.wake(parent, events=seq + 1)
        else:
            book.put(parent.but(events=seq + 1, waiting_on=waits.write(left)), parent.state)
    else:
        book.revise(parent, events=seq + 1)
