"""What must hold after every commit, whatever happened before: kept beside the store, from what was committed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cluster.book import Book
from cluster.claims import AWAY, Ending, Verdict
from cluster.limits import Rule, agent_key
from cluster.store import EventRow, SignalRow, StepRow, Writes
from cluster.task import TERMINAL_EVENTS, TOLD, Ref, State, Task

Owner = tuple[str, str]
ENDS = frozenset(TERMINAL_EVENTS.values())


class Oracle:
    """A second book, and what the simulated world knows better than any ledger."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.broken: list[str] = []  # promises, in the order in which they were broken
        self.commits = 0
        # as committed
        self.tasks: dict[Ref, Task] = {}
        self.steps: defaultdict[Ref, dict[str, StepRow]] = defaultdict(dict)
        self.events: defaultdict[Ref, dict[int, EventRow]] = defaultdict(dict)
        self.signals: defaultdict[Ref, list[SignalRow]] = defaultdict(list)
        self.taken: defaultdict[Ref, list[int]] = defaultdict(list)
        self.rules: dict[Owner, Rule] = {}
        self.alone: defaultdict[Ref, dict[int, str]] = defaultdict(
            dict
        )  # who held a task that was to run alone, by fence
        self.away: dict[Ref, int] = {}  # what is held by a worker of another generation: in which it was found so
        self.retried: Counter[Ref] = Counter()  # by hand; an end that is not the last any more has a row of its own
        # as the world knows it
        self.generation = 1
        self.slots: dict[str, dict[str, int]] = {}  # of each worker, by agent
        self.silent: set[str] = set()  # workers that died, or were stopped for a while
        self.verdicts: defaultdict[Ref, dict[int, Verdict]] = defaultdict(dict)  # that were sent, by fence
        self.cancels: set[Ref] = set()  # that anyone asked for
        self.canceling_all = 0  # calls under way that cancel whatever there is
        self.retries: set[Ref] = set()  # that anyone asked for
        self.retrying_all = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note a promise that is found broken inside: whoever runs here would not pass an exception on."""
        try:
            yield
        except AssertionError as error:
            self.broken.append(str(error))

    def committed(self, writes: Writes, generation: int, book: Book, ahead: Writes) -> None:
        """This was committed just now, by a ledger whose book has `ahead` too, which is to be committed next."""
        self.commits += 1
        assert generation == self.generation, f"generation {generation} wrote after {self.generation} began"
        ends = Counter((event.tenant, event.task) for event in writes.events if event.type in ENDS)
        self.retried += ends
        for ref in ends:
            asked = self.retrying_all or ref in self.retries or self._parent_goes_on(ref)
            assert asked, f"{ref} goes on after its end, unasked"
        for ref, task in writes.new.items():
            assert ref not in self.tasks, f"{ref} was created twice"
            self._changed(None, task)
        for ref, task in writes.moved.items():
            assert ref in self.tasks, f"{ref} was moved, but never created"
            self._changed(self.tasks.get(ref), task, retried=ref in ends)
        self._kept(writes)
        self._check_slots()
        self._check_limits(writes)
        if self.tasks.keys().isdisjoint(ahead.new):  # else those tasks were sent again, and that tick will fail
            self._check_book(book, {**self.tasks, **ahead.new, **ahead.moved})

    def recount(self) -> Counter[tuple[str, str]]:
        """How many tasks there are by (agent, state)."""
        return Counter((task.agent, task.state) for task in self.tasks.values())

    def running(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.state == State.RUNNING]

    # one task

    def _changed(self, old: Task | None, new: Task, *, retried: bool = False) -> None:
        """`retried`: by hand, in this commit, in which it may have ended before or after."""
        name = f"{new.id} ({old.state if old else 'new'} -> {new.state}, fence {new.fence})"
        if old is not None:
            self._check_progress(name, old, new, retried)
        if new.state == State.RUNNING:
            assert new.worker is not None, f"{name} runs on no worker"
            if new.worker.startswith(AWAY) and (old is None or old.worker != new.worker):
                self.away[new.ref] = self.generation
            if new.isolated:
                self.alone[new.ref][new.fence] = new.worker.removeprefix(AWAY)
        else:
            assert new.worker is None, f"{name} is held by {new.worker}"
        if new.cancel_requested_at is not None and (old is None or old.cancel_requested_at is None or retried):
            asked = bool(self.canceling_all) or new.ref in self.cancels or self._parent_is_over(new)
            assert asked, f"{name} is canceled, unasked"
        if new.ended and (old is None or not old.ended or retried):
            self._check_end(name, new)
        used = new.attempts - new.base
        assert used <= new.max_attempts, f"{name} has had {used} of {new.max_attempts} attempts"
        allowed = self.retried[new.ref] + 1 + len(self._counted(new.ref))
        assert new.attempts <= allowed, f"{name} counts {new.attempts} attempts, and {allowed} can have been"
        self.tasks[new.ref] = new

    def _check_progress(self, name: str, old: Task, new: Task, retried: bool) -> None:
        fixed = Task._fields.index("state")
        assert old[:fixed] == new[:fixed], f"{name}: what never changes was changed"
        assert new.fence >= old.fence, f"{name}: the fence went back from {old.fence}"
        assert new.events >= old.events, f"{name}: the events went back from {old.events}"
        assert new.told == old.told or old.told != TOLD, f"{name}: its parent was told no more"
        if retried:
            assert old.state != State.COMPLETED, f"{name} was retried"  # its end may be of the same tick
        elif new.base > old.base or (old.ended and not new.ended):
            raise AssertionError(f"{name} has an end less")
        elif old.ended:
            assert old._replace(told=new.told) == new, f"{name} had ended, and was changed"
        if new.state == State.RUNNING and old.state == State.RUNNING and new.worker != old.worker:
            apart = new.worker == f"{AWAY}{old.worker}" and new.fence == old.fence
            assert apart or new.fence > old.fence, f"{name} went to another worker without a new fence"
        if old.state == State.RUNNING and str(old.worker).startswith(AWAY) and new.fence == old.fence:
            assert new.state not in (State.WAITING, State.COMPLETED), f"{name} by who had lost the store"
            assert (new.isolated, new.attempts <= old.attempts) == (old.isolated, True), f"{name}: an upgrade counted"

    def _check_end(self, name: str, task: Task) -> None:
        verdict = self.verdicts[task.ref].get(task.fence)
        if task.state == State.COMPLETED:
            said = verdict is not None and verdict.ending == Ending.COMPLETED and verdict.output == task.output
            assert said, f"{name} has an output that nobody reported"
        elif task.state == State.CANCELED:
            assert task.cancel_requested_at is not None, f"{name}, but nobody asked for that"
        else:
            self._check_failure(name, task, verdict)

    def _check_failure(self, name: str, task: Task, verdict: Verdict | None) -> None:
        error = json.loads(task.error or "{}").get("type")
        used_up = task.attempts - task.base >= task.max_attempts
        if error == "expired":
            assert task.deadline is not None, f"{name} expired without a deadline"
            assert task.deadline <= self._now(), f"{name} expired too early"
        elif error == "worker_died":
            assert used_up, f"{name} died with attempts left"
            assert task.fence in self._counted(task.ref), f"{name}, but its worker lives"
        elif verdict is None or verdict.error != task.error:
            raise AssertionError(f"{name} with an error that nobody reported: {task.error}")
        elif verdict.ending == Ending.RETRY:
            assert used_up, f"{name} with attempts left"

    def _parent_is_over(self, task: Task) -> bool:
        parent = self.tasks.get((task.tenant, task.parent_id or ""))
        return parent is not None and (parent.ended or parent.cancel_requested_at is not None)

    def _parent_goes_on(self, ref: Ref) -> bool:
        """One that was retried calls again what was canceled with it."""
        task = self.tasks.get(ref)
        return task is not None and self.retried[task.tenant, task.parent_id or ""] > 0

    def _counted(self, ref: Ref) -> set[int]:
        """The claims of a task whose end may have used up an attempt."""
        asked = {fence for fence, verdict in self.verdicts[ref].items() if verdict.ending == Ending.RETRY}
        return asked | {fence for fence, worker in self.alone[ref].items() if worker in self.silent}

    # what is kept of tasks

    def _kept(self, writes: Writes) -> None:
        for step in writes.steps:
            known = self.steps[step.tenant, step.task]
            assert step.name + step.key not in known, f"step {step.name}{step.key} of {step.task} recorded again"
            known[step.name + step.key] = step
        for event in writes.events:
            numbers = self.events[event.tenant, event.task]
            assert event.seq not in numbers, f"event {event.seq} of {event.task} numbered twice"
            numbers[event.seq] = event
        for signal in writes.signals:
            rows = self.signals[signal.tenant, signal.task]
            assert signal.number == len(rows), f"signal {signal.number} of {signal.task} is not the next"
            rows.append(signal)
        for tenant, id, number in writes.taken:
            assert number not in self.taken[tenant, id], f"signal {number} of {id} was taken twice"
            self.taken[tenant, id].append(number)
        self.rules |= writes.rules

    # all of them

    def _check_slots(self) -> None:
        # Who has lost claims to a new generation takes others, which the next generation may find beside them.
        by_worker: defaultdict[tuple[str, int], list[Task]] = defaultdict(list)
        for task in self.running():
            worker = task.worker or ""
            by_worker[worker, self.away[task.ref] if worker.startswith(AWAY) else 0].append(task)
        for (worker, _), tasks in by_worker.items():
            for agent, number in Counter(task.agent for task in tasks).items():
                slots = self.slots[worker.removeprefix(AWAY)].get(agent, 0)
                assert number <= slots, f"worker {worker} runs {number} of {agent}, and has {slots} slots"
            if any(task.isolated for task in tasks):
                names = [task.id for task in tasks]
                assert len(tasks) == 1, f"worker {worker} runs {names}, one of which was to run alone"

    def _check_limits(self, writes: Writes) -> None:
        running: Counter[Owner] = Counter()
        for task in self.running():
            running.update([(task.tenant, task.limit_key), agent_key(task.agent)])
        for task in writes.claimed:
            for owner in ((task.tenant, task.limit_key), agent_key(task.agent)):
                rule = self.rules.get(owner)
                if rule is None or task.state != State.RUNNING:
                    continue
                most = running[owner] if rule.concurrency is None else rule.concurrency
                assert running[owner] <= most, f"{running[owner]} tasks of {owner} run, {most} may"
                paused = rule.paused_until is not None and rule.paused_until > self._now()
                assert not paused, f"{task.id} was started though {owner} is paused"

    def _check_book(self, book: Book, tasks: Mapping[Ref, Task]) -> None:
        counts = Counter({key: number for key, number in book.counts.items() if number})
        known = Counter((task.agent, task.state) for task in tasks.values())
        assert counts == known, f"the ledger counts {counts}, and there are {known}"
        lanes = Counter((task.agent, task.lane, task.state) for task in tasks.values() if task.lane and not task.ended)
        assert book.lanes == lanes, f"the ledger counts {book.lanes} in lanes, and there are {lanes}"
        held = {holding.held for holding in book.running.values()}
        there = {(*task.ref, task.fence) for task in tasks.values() if task.state == State.RUNNING}
        assert held == there, f"the ledger holds {held}, the store has running {there}"
        using = Counter(
            owner
            for holding in book.running.values()
            for owner in ((holding.task.tenant, holding.task.limit_key), agent_key(holding.task.agent))
        )
        assert +book.using == using, f"the ledger has {book.using} in use, and there are {using}"
