"""What is asked of tasks, made into a move that happens once under the key it was asked with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from . import steering
from .book import Book
from .errors import Conflict
from .moves import Apply, Needs
from .steering import Steer, check_body, retry
from .store import KeyRow, Store
from .task import Filter, Once, Ref, State, Step, Submission, Submitted, Task

MANY = 10_000  # children of a task that may run at once

Fork = Callable[[Book, Task, Sequence[Step], tuple[str, ...]], Task]  # of the steps, and those that left no result


class _Found(NamedTuple):
    """What the store has: the task that is asked about, the key's row, for a fork the steps and the new task, and for
    a retry the task's parent, and whether children that end with the task have not."""

    task: Task | None
    row: KeyRow | None
    steps: Sequence[Step] = ()
    started: tuple[str, ...] = ()
    forked: Task | None = None
    parent: Task | None = None
    busy: bool = False


def accepted(submission: Submission) -> tuple[Apply, Needs, bool]:
    """Accept new tasks; and whether nothing need be read for that, unless a tick with it fails."""
    late = any(task.deadline is not None for task in submission.tasks)

    async def needs(store: Store, careful: bool) -> Submitted | KeyRow | None:
        """What an equal submission created before: asked of the store where the caller, or a failed tick, gives cause
        to. (A deadline that has passed must not hide that the tasks were accepted before it did.)"""
        found = None
        if submission.key:
            found = await store.key(submission.tenant, submission.route, submission.key)
        if found is None and (late or careful) and await store.task(*submission.tasks[0].ref) is not None:
            return Submitted((), None, replayed=True)
        return found

    def apply(book: Book, known: Submitted | KeyRow | None) -> Submitted:
        return steering.submit(book, submission, known)

    return apply, needs, not (submission.key or late)


def steered(ref: Ref, steer: Steer, once: Once | None = None) -> tuple[Apply, Needs]:
    """Move one task. It brings the task, as it is now where the key has done its work before."""

    async def needs(store: Store, _: bool) -> _Found:
        return _Found(await store.task(*ref), await _row(store, ref, once))

    def apply(book: Book, found: _Found) -> Task | None:
        if _is_done(book, ref, once, found.row):
            return book.look(ref, found.task)
        task = steer(book, ref, found.task)
        if task is not None:
            _remember(book, once, task)
        return task

    return apply, needs


def retried(ref: Ref, once: Once | None) -> tuple[Apply, Needs]:
    """Retry one task, once the children that end with it have."""

    async def needs(store: Store, _: bool) -> _Found:
        task, row = await store.task(*ref), await _row(store, ref, once)
        if task is None:
            return _Found(None, row)
        parent = await store.task(ref[0], task.parent_id) if task.parent_id else None
        return _Found(task, row, parent=parent, busy=await _is_busy(store, task))

    def apply(book: Book, found: _Found) -> Task | None:
        def steer(book: Book, ref: Ref, stored: Task | None) -> Task | None:
            return retry(book, ref, stored, parent=found.parent, busy=found.busy)

        move, _ = steered(ref, steer, once)
        task: Task | None = move(book, found)
        return task

    return apply, needs


def all_steered(refs: Sequence[Ref], steer: Steer) -> tuple[Apply, Needs]:
    """Move those of these tasks that can be moved. It brings how many."""

    def apply(book: Book, known: Mapping[Ref, Task]) -> int:
        moved = 0
        for ref in refs:
            try:
                moved += steer(book, ref, known.get(ref)) is not None
            except Conflict:  # it has ended, or started, meanwhile
                continue
        return moved

    return apply, lambda store, _: store.many(refs)


def all_retried(refs: Sequence[Ref]) -> tuple[Apply, Needs]:
    """Retry those of these tasks that can be; not those with children that are to end with them and have not."""

    async def needs(store: Store, _: bool) -> tuple[Mapping[Ref, Task], Mapping[Ref, Task]]:
        known = await store.many(refs)
        parents = await store.many(list({_parent(task) for task in known.values() if task.parent_id}))
        return {ref: task for ref, task in known.items() if not await _is_busy(store, task)}, parents

    def apply(book: Book, found: tuple[Mapping[Ref, Task], Mapping[Ref, Task]]) -> int:
        known, parents = found

        def steer(book: Book, ref: Ref, stored: Task | None) -> Task | None:
            return None if stored is None else retry(book, ref, stored, parent=parents.get(_parent(stored)))

        move, _ = all_steered(refs, steer)
        moved: int = move(book, known)
        return moved

    return apply, needs


def forked(ref: Ref, new_id: str, fork: Fork, once: Once | None) -> tuple[Apply, Needs]:
    """Make a new task of that id, unless there is one. It brings the new task, None if there is none to fork."""
    tenant, _ = ref

    async def needs(store: Store, _: bool) -> _Found:
        row = await _row(store, ref, once)
        started = (await store.pasts([ref]))[ref].started
        steps = await _steps(store, ref)
        return _Found(await store.task(*ref), row, steps, started, await store.task(tenant, new_id))

    def apply(book: Book, found: _Found) -> Task | None:
        source, known = book.look(ref, found.task), book.look((tenant, new_id), found.forked)
        if _is_done(book, ref, once, found.row) or source is None or known is not None:
            return known
        task = fork(book, source, found.steps, found.started)
        _remember(book, once, task, task.id)
        return task

    return apply, needs


async def _steps(store: Store, ref: Ref) -> list[Step]:
    """The whole journal."""
    steps: list[Step] = []
    while page := await store.steps(*ref, steps[-1].seq if steps else -1):
        steps += page
    return steps


async def _row(store: Store, ref: Ref, once: Once | None) -> KeyRow | None:
    return None if once is None else await store.key(ref[0], once.route, once.key)


def _parent(task: Task) -> Ref:
    return task.tenant, task.parent_id or ""


async def _is_busy(store: Store, task: Task) -> bool:
    """Whether children that are to end with the task have not."""
    if not task.children:
        return False
    filter, after = Filter(parent_id=task.id, state=State.RUNNING.value), None
    while running := await store.tasks(task.tenant, filter, after, MANY):
        if any(child.cancel_requested_at is not None for child in running):
            return True
        after = running[-1].id
    return False


def _is_done(book: Book, ref: Ref, once: Once | None, known: KeyRow | None) -> bool:
    """Whether the key has done its work, as the store or this tick has it. Raises Conflict for another body."""
    row = None if once is None else book.writes.keys.get((ref[0], once.route, once.key)) or known
    if once is None or row is None:
        return False
    check_body(row, once.digest)
    return True


def _remember(book: Book, once: Once | None, task: Task, *created: str) -> None:
    """The key has done its work, and created these tasks. That is known for as long as the task is."""
    if once is not None:
        mark = (task.tenant, once.route, once.key)
        book.writes.keys[mark] = KeyRow(*mark, once.digest, None, json.dumps(created), task.id)
