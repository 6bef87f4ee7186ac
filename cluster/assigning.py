"""Who gets which task: a worker's free slots, shared fairly among limit keys, within their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .book import Book
from .claims import Claim, Hello
from .limits import Hold, Rule, agent_key, hold, spent
from .steering import end_overdue
from .task import Task

Owner = tuple[str, str]
Listeners = Mapping[str, tuple[Hello, int]]  # worker to who it is, and the call that its new claims would answer
_PLAIN = Rule("", "")


def assign(book: Book, workers: Listeners) -> dict[str, list[Claim]]:
    """New claims for these workers, never more than their free slots; the least busy takes first."""
    granted: dict[str, list[Claim]] = {}
    # One that holds nothing and does not ask may be gone without anyone's knowing: it blocks nobody.
    book.lone = {kind: lone for kind, lone in book.lone.items() if lone in workers or book.by_worker[lone]}
    order = sorted(workers.values(), key=lambda listener: len(book.by_worker[listener[0].id]))
    for place, (hello, call) in enumerate(order):
        others = len(order) - place - 1
        claims: list[Claim] = []
        if _must_be_alone(book, hello):
            claims = _alone(book, hello, call)
        if book.lone.get(hello.kind) != hello.id and not _holds_alone(book, hello.id):
            for agent, slots in hello.slots.items():
                claims += _share(book, hello.id, call, agent, slots, others)
        if claims:
            granted[hello.id] = claims
    return granted


def held_by(book: Book, owner: Owner) -> Hold | None:
    """What keeps a limit key from starting a task now."""
    rule = book.rules.get(owner)
    return None if rule is None or rule.plain else hold(rule, book.using[owner], book.clock.now())


def _share(book: Book, worker: str, call: int, agent: str, slots: int, others: int) -> list[Claim]:
    """Up to the agent's free slots on this worker, leaving as much for each of the others."""
    claims: list[Claim] = []
    share = min(slots - book.busy[worker, agent], math.ceil(book.ready.size(agent) / (others + 1)))
    while len(claims) < share and (task := _next(book, agent)) is not None:
        claims.append(book.claim(task, worker, call))
    return claims


def _next(book: Book, agent: str) -> Task | None:
    """The task whose turn it is, taken; a key that its limits hold is passed over."""
    whole = agent_key(agent)
    if (held := held_by(book, whole)) is not None:
        book.later.set(whole, held.until)
        return None
    while (found := book.ready.next(agent)) is not None:
        owner, task = found
        if _is_overdue(book, task):
            continue
        if (held := held_by(book, owner)) is not None:
            book.ready.pass_over(agent, owner)
            book.passed[owner].add(agent)
            book.later.set(owner, held.until)
            continue
        _spend(book, owner, whole)
        return book.ready.take(agent, owner, book.rules.get(owner, _PLAIN).weight)
    return None


def _spend(book: Book, *owners: Owner) -> None:
    """Count one more start against the rates of these keys."""
    for owner in owners:
        rule = book.rules.get(owner)
        if rule is not None and rule.rate_count:
            book.rules[owner] = book.writes.rules[owner] = spent(rule, book.clock.now())


def _must_be_alone(book: Book, hello: Hello) -> bool:
    """Whether this worker is, or now becomes, the one that runs tasks alone."""
    waiting = any(_suspect(book, agent) for agent in hello.slots)
    if waiting:
        book.lone.setdefault(hello.kind, hello.id)
    elif book.lone.get(hello.kind) == hello.id and not book.by_worker[hello.id]:
        del book.lone[hello.kind]
    return book.lone.get(hello.kind) == hello.id


def _holds_alone(book: Book, worker: str) -> bool:
    """Whether it has a task that runs alone: after a restart of the ledger nothing else tells."""
    held = book.by_worker[worker]
    return len(held) == 1 and next(iter(held.values())).alone


def _suspect(book: Book, agent: str) -> Owner | None:
    """The owner of the agent's next task to run alone, of those whose limits let one start."""
    owners = book.ready.suspects(agent)
    if not owners or held_by(book, agent_key(agent)):
        return None
    for owner in owners:
        if held_by(book, owner) is None and not _is_overdue(book, book.ready.suspect(agent, owner)):
            return owner
    return None


def _is_overdue(book: Book, task: Task) -> bool:
    """Whether the task may not start any more: its deadline has passed, and so it ends here."""
    if task.deadline is None or task.deadline > book.clock.now():
        return False
    end_overdue(book, [task])
    return True


def _alone(book: Book, hello: Hello, call: int) -> list[Claim]:
    if book.by_worker[hello.id]:
        return []
    for agent in hello.slots:
        owner = _suspect(book, agent)
        if owner is not None:
            _spend(book, owner, agent_key(agent))
            return [book.claim(book.ready.take_suspect(agent, owner), hello.id, call)]
    return []
