"""What people and programs ask of tasks: accept, cancel, retry, fork, signal; and what happens to one by the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence

from . import waits
from .book import Book, is_over
from .claims import SignalSent
from .errors import Conflict, Expired
from .limits import Rule
from .store import EventRow, KeyRow, SignalRow, StepRow
from .task import (
    ENDED,
    NEW,
    SIGNALS,
    TERMINAL_EVENTS,
    UNHEARD,
    UNTOLD,
    Ref,
    State,
    Step,
    Submission,
    Submitted,
    Task,
    extra_json,
)
from .verdicts import expired

_FRESH = {name: Task._field_defaults[name] for name in Task._fields[Task._fields.index("state") :]}

Steer = Callable[[Book, Ref, Task | None], Task | None]  # moves one task, given as the store has it


def submit(book: Book, submission: Submission, known: Submitted | KeyRow | None) -> Submitted:
    """Accept new tasks, all of them; what was submitted before, as `known` or this tick has it, is accepted once.

    Raises Conflict for a known key with another body, Expired for what is new and whose deadline has passed.
    """
    mark = (submission.tenant, submission.route, submission.key)
    row = book.writes.keys.get(mark) if submission.key else None
    if row is None and isinstance(known, KeyRow):
        row = known
    if row is not None:
        check_body(row, submission.digest)
        return Submitted(tuple(json.loads(row.task_ids)), row.batch_id, replayed=True)
    ids = tuple(task.id for task in submission.tasks)
    if isinstance(known, Submitted) or submission.tasks[0].ref in book.writes.new:
        return Submitted(ids, submission.batch_id, replayed=True)
    now = book.clock.now()
    if any(task.deadline is not None and task.deadline <= now for task in submission.tasks):
        raise Expired("the deadline has passed already")
    for task in submission.tasks:
        book.accept(task)
    if submission.key:
        book.writes.keys[mark] = KeyRow(*mark, submission.digest, submission.batch_id, json.dumps(ids), ids[0])
    return Submitted(ids, submission.batch_id, replayed=False)


def check_body(row: KeyRow, digest: str) -> None:
    """Raises Conflict where the key came with another body before."""
    if row.digest != digest:
        raise Conflict("this Idempotency-Key was used with another body")


def cancel(book: Book, ref: Ref, stored: Task | None) -> Task | None:
    """Ask for the task's end: at once where nobody holds it. None if there is no such task; raises Conflict."""
    now = book.clock.now()
    holding = book.running.get(ref)
    if holding is not None:
        if holding.task.cancel_requested_at is None:
            holding.task = holding.task.but(cancel_requested_at=now)
            book.canceling.add(ref)
            book.put(holding.task, holding.task.state)
        return holding.task
    task = book.look(ref, stored)
    if task is None or task.state == State.CANCELED:
        return task
    if task.state in ENDED:
        raise Conflict(f"task {task.id} has already {task.state}")
    return book.end(task, State.CANCELED, task.events, cancel_requested_at=now)


def retry(book: Book, ref: Ref, stored: Task | None, *, parent: Task | None = None, busy: bool = False) -> Task | None:
    """Queue a task that failed or was canceled once more, with all its attempts anew and what it had recorded.

    None if there is no such task; raises Conflict for one that has not ended so, whose deadline has passed, whose
    `parent` is over and would take it along, or that is `busy`: not all of the children that end with it have.
    """
    task = book.look(ref, stored)
    if task is None:
        return None
    if task.state not in (State.FAILED, State.CANCELED):
        raise Conflict(f"task {task.id} is {task.state}; only one that failed or was canceled can be retried")
    now = book.clock.now()
    if task.deadline is not None and task.deadline <= now:
        raise Conflict(f"the deadline of task {task.id} has passed; fork it, or submit it anew")
    parent = parent and book.look(parent.ref, parent)
    if parent is not None and is_over(parent):
        end = "is to be canceled" if parent.state not in ENDED else f"has {parent.state}"
        raise Conflict(f"task {parent.id}, which called {task.id}, {end}; retry or fork that one, or submit this anew")
    if busy:
        raise Conflict(f"tasks that {task.id} had called are still being canceled; retry it when they have ended")
    _write_ending(book, task)
    return book.enqueue(
        task,
        base=task.attempts,
        rank=NEW,
        isolated=0,
        run_at=0.0,
        ran=0.0,
        lane=task.first,
        told=UNTOLD if task.told == UNHEARD else task.told,
        ended_at=None,
        cancel_requested_at=None,
    )


def fork(
    book: Book,
    source: Task,
    steps: Sequence[Step],
    started: Collection[str],
    from_step: str,
    *,
    id: str,
    input: str | None,
    version: str,
) -> Task:
    """A new task that has recorded what the source had before that step, and goes on from there.

    `started` are the steps that may run once only and left no result. Raises Conflict where the source has no such
    step, neither recorded, nor started, nor as the one it failed at.
    """
    first = next((place for place, step in enumerate(steps) if step.name + step.key == from_step), None)
    if first is None and (from_step in started or from_step == _failed_step(source)):
        first = len(steps)
    if first is None:
        there = ", ".join(step.name + step.key for step in steps[:20]) or "none"
        raise Conflict(f"task {source.id} has recorded no step {from_step!r}; it has: {there}")
    kept = steps[:first]
    forked = source.but(
        id=id,
        version=version,
        input=source.input if input is None else input,
        batch_id=None,
        created_at=book.clock.now(),
        deadline=None,
        parent_id=None,
        schedule=None,
        extra=extra_json(retry=source.retry, session=source.session, market=source.market),
    )
    task = forked.but(**(_FRESH | {"events": len(kept), "lane": source.first}))
    book.accept(task)
    for seq, step in enumerate(kept):
        book.writes.steps.append(
            StepRow(
                *(task.tenant, task.id, step.name, step.key, step.digest, step.value),
                *(seq, 0, step.at, 0, 0),
            )
        )
        book.refer(task, step.value)
    return task


def _failed_step(task: Task) -> str | None:
    error = json.loads(task.error) if task.error else None
    return error.get("step") if isinstance(error, dict) else None


def signal(book: Book, ref: Ref, stored: Task | None, name: str, payload: str) -> Task | None:
    """Keep the signal for the task's next wait for one of that name. None if there is no such task; raises Conflict."""
    task = book.look(ref, stored)
    if task is None:
        return None
    if is_over(task):
        raise Conflict(f"task {task.id} {'is to be canceled' if task.state not in ENDED else f'has {task.state}'}")
    if task.signals >= SIGNALS:
        raise Conflict(f"task {task.id} was sent {SIGNALS} signals, and takes no more")
    row = SignalRow(task.tenant, task.id, task.signals, name, payload, book.clock.now())
    book.writes.signals.append(row)
    book.refer(task, payload)
    holding = book.running.get(ref)
    if holding is not None:
        holding.task = task.but(signals=task.signals + 1)
        book.put(holding.task, task.state)
        news = SignalSent(row.number, name, payload)
        holding.news += 1
        holding.signals[row.number] = name
        book.news[holding.worker].append((holding.held, news))
        return holding.task
    waited = task.waiting_on is not None and name in waits.read(task.waiting_on).signals
    if task.state == State.WAITING and waited:
        return book.wake(task, signals=task.signals + 1)
    book.revise(task, signals=task.signals + 1)
    return book.look(ref, task)


def wake_due(book: Book, tasks: Iterable[Task]) -> None:
    """Wake the tasks whose moment has come, as far as they still wait for one."""
    now = book.clock.now()
    for stored in tasks:
        task = book.look(stored.ref, stored)
        if task is not None and task.state == State.WAITING and 0 < task.run_at <= now:
            book.wake(task)


def end_overdue(book: Book, tasks: Iterable[Task]) -> None:
    """End the tasks whose deadline has passed and that nobody holds; who holds one keeps its deadline itself."""
    now = book.clock.now()
    for stored in tasks:
        task = book.look(stored.ref, stored)
        idle = task is not None and task.state in (State.QUEUED, State.WAITING)
        if task is not None and idle and task.deadline is not None and task.deadline <= now:
            book.end(task, State.FAILED, task.events, error=expired(task))


def set_rule(book: Book, rule: Rule) -> Rule:
    """The limits of a key from now on; its rate goes on where it was."""
    owner = (rule.tenant, rule.key)
    old = book.rules.get(owner)
    book.rules[owner] = book.writes.rules[owner] = rule._replace(arrival=old.arrival if old else 0.0)
    book.reconsider(owner)
    return book.rules[owner]


def _write_ending(book: Book, task: Task) -> None:
    """An end that is not the last any more gets a row of its own."""
    data = f'{{"error":{task.error}}}' if task.state == State.FAILED else "{}"
    type = TERMINAL_EVENTS[State(task.state)]
    at = task.ended_at or book.clock.now()
    book.writes.events.append(
        EventRow(task.tenant, task.id, task.events - 1, type, at, task.attempts, "", data, task.fence, 0)
    )
