"""Who gets which task: a worker's free slots, shared fairly among limit keys, within their limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from .book import Book, Side
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
    if book.lone:  # one that holds nothing and does not ask may be gone without anyone's knowing: it blocks nobody
        book.lone = {side: lone for side, lone in book.lone.items() if lone in workers or book.by_worker[lone]}
    order = sorted(workers.values(), key=lambda listener: len(book.by_worker[listener[0].id]))
    careful = bool(book.lone) or book.ready.has_suspects
    for place, (hello, call) in enumerate(order):
        if not book.ready:
            break
        others = len(order) - place - 1
        claims: list[Claim] = []
        if careful and _must_be_alone(book, hello):
            claims = _alone(book, hello, call)
        elif not _holds_alone(book, hello.id):
            for agent, slots in hello.slots.items():
                claims += _share(book, hello, call, agent, slots, others)
        if claims:
            granted[hello.id] = claims
    return granted


def held_by(book: Book, owner: Owner) -> Hold | None:
    """What keeps a limit key from starting a task now."""
    rule = book.rules.get(owner)
    return None if rule is None or rule.plain else hold(rule, book.using[owner], book.clock.now())


def _share(book: Book, hello: Hello, call: int, agent: str, slots: int, others: int) -> list[Claim]:
    """Up to the agent's free slots on this worker, leaving as much for each of the others."""
    claims: list[Claim] = []
    lines = hello.lines_of(agent)
    if len(lines) > 1:
        lines = tuple(filter(book.ready.any, lines))
    if not lines:
        return claims
    ready = sum(map(book.ready.size, lines))
    share = min(slots - book.busy[hello.id, agent], math.ceil(ready / (others + 1)))
    while len(claims) < share and (task := _next(book, agent, lines)) is not None:
        claims.append(book.claim(task, hello.id, call, hello.versions.get(agent, "")))
    return claims


def _next(book: Book, agent: str, lines: Sequence[str]) -> Task | None:
    """The task of these lines whose turn it is, taken; nothing is where the agent's own limits hold it."""
    whole = agent_key(agent)
    if (held := held_by(book, whole)) is not None:
        book.later.set(whole, held.until)
        return None
    if len(lines) == 1:
        return _next_of(book, lines[0], whole)
    for line in book.ready.order(lines):
        task = _next_of(book, line, whole)
        if task is not None:
            book.ready.served(line)
            return task
    return None


def _next_of(book: Book, line: str, whole: Owner) -> Task | None:
    """The task of the line whose turn it is, taken; a key that its limits hold is passed over."""
    while (found := book.ready.next(line)) is not None:
        owner, task = found
        if _is_overdue(book, task):
            continue
        if (held := held_by(book, owner)) is not None:
            book.ready.pass_over(line, owner)
            book.passed[owner].add(line)
            book.later.set(owner, held.until)
            continue
        _spend(book, owner, whole)
        return book.ready.take(line, owner, book.rules.get(owner, _PLAIN).weight)
    return None


def _spend(book: Book, *owners: Owner) -> None:
    """Count one more start against the rates of these keys."""
    for owner in owners:
        rule = book.rules.get(owner)
        if rule is not None and rule.rate_count:
            book.rules[owner] = book.writes.rules[owner] = spent(rule, book.clock.now())


def _must_be_alone(book: Book, hello: Hello) -> bool:
    """Whether this worker is, or now becomes, the one that runs tasks alone."""
    waiting = any(_suspect(book, agent, line) for agent, line in _lines(hello))
    side = _side(hello)
    if waiting:
        book.lone.setdefault(side, hello.id)
    elif book.lone.get(side) == hello.id and not book.by_worker[hello.id]:
        del book.lone[side]
    return book.lone.get(side) == hello.id


def _lines(hello: Hello) -> Iterator[tuple[str, str]]:
    """The lines that it serves, each with its agent."""
    return ((agent, line) for agent in hello.slots for line in hello.lines_of(agent))


def _side(hello: Hello) -> Side:
    """The workers of which one runs what must run alone: those that are of one kind and serve the same lines."""
    return hello.kind, *hello.lines.values()


def _holds_alone(book: Book, worker: str) -> bool:
    """Whether it has a task that runs alone: after a restart of the ledger nothing else tells."""
    held = book.by_worker[worker]
    return len(held) == 1 and next(iter(held.values())).alone


def _suspect(book: Book, agent: str, line: str) -> Owner | None:
    """The owner of the line's next task to run alone, of those whose limits let one start."""
    owners = book.ready.suspects(line)
    if not owners or held_by(book, agent_key(agent)):
        return None
    for owner in owners:
        if held_by(book, owner) is None and not _is_overdue(book, book.ready.suspect(line, owner)):
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
    for agent, line in _lines(hello):
        owner = _suspect(book, agent, line)
        if owner is not None:
            _spend(book, owner, agent_key(agent))
            task = book.ready.take_suspect(line, owner)
            return [book.claim(task, hello.id, call, hello.versions.get(agent, ""))]
    return []
