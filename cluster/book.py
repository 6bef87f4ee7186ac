"""The ledger's working state, and every move that changes it.

A move changes this state at once and says what must be stored for it in `writes`. The ledger commits the writes
before anyone is told of the move; a commit that fails throws the book away and reads a new one from the store. So
nobody but the ledger's own tick ever sees a fact that is not durable.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agents.events import Emitted

from .claims import LEASE, Claim, Ending, Held, Hello, Report, StepDone, Verdict
from .errors import Conflict
from .ready import Ready
from .store import EventRow, KeyRow, Ref, StepRow, Store, Writes
from .task import ENDED, State, Submission, Submitted, Task


@dataclass(slots=True)
class Holding:
    """A task that a worker holds; lease on the ledger's monotonic clock."""

    task: Task
    worker: str
    lease_ends: float
    events: int  # numbered so far
    reported: int  # the last report applied
    call: int | None  # the worker's call that the claim answered; None: handed over before this ledger's start
    alone: bool  # nothing else runs beside it

    @property
    def held(self) -> Held:
        return self.task.tenant, self.task.id, self.task.fence


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks: `now` in seconds since the epoch, for what is stored, and `monotonic`, for leases."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


class Book:
    """Who holds which task, what is next, and what the current tick has to write."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.writes = Writes()
        self.ready = Ready(store.ready)
        self.running: dict[Ref, Holding] = {}
        self._by_worker: defaultdict[str, dict[Ref, Holding]] = defaultdict(dict)
        self._canceling: set[Ref] = set()  # running, and asked to end
        self._lone: dict[str, str] = {}  # by kind, the worker that takes nothing but tasks to run alone
        self.counts: Counter[tuple[str, str]] = Counter()
        self._load()

    def _load(self) -> None:
        self.counts.update({(agent, state): n for agent, state, n in self._store.counts()})
        for agent, due in self._store.due(self._clock.now()):
            self.ready.window(agent)
            if due:
                self.ready.wake(agent, due)
        for task in self._store.running():
            events, reported = self._store.progress(task.tenant, task.id, task.fence)
            self._hold(task, events=max(events, task.events), reported=reported, call=None, alone=bool(task.isolated))

    def any(self, agent: str | None, state: str) -> bool:
        """Whether there is a task of this agent (None: of any) in this state."""
        agents = {name for name, _ in self.counts} if agent is None else {agent}
        return any(self.counts[name, state] > 0 for name in agents)

    def take_writes(self) -> Writes:
        """What this tick commits; the next one starts empty."""
        writes, self.writes = self.writes, Writes()
        return writes

    # moves

    def submit(self, submission: Submission) -> Submitted:
        """Accept new tasks, all of them."""
        now = self._clock.now()
        for task in submission.tasks:
            self.writes.new[task.tenant, task.id] = task
            self.counts[task.agent, task.state] += 1
            self.ready.add(task, now)
        ids = tuple(task.id for task in submission.tasks)
        if submission.key:
            row = KeyRow(
                submission.tenant,
                submission.route,
                submission.key,
                submission.digest,
                submission.batch_id,
                json.dumps(ids),
            )
            self.writes.keys.append(row)
        return Submitted(ids, submission.batch_id, replayed=False)

    def report(self, worker: str, report: Report) -> bool:
        """Apply a worker's news if its claim is the newest, else change nothing and return False."""
        holding = self._newest(worker, (report.tenant, report.task_id, report.fence))
        if holding is None:
            return False
        if report.number <= holding.reported:
            return True
        holding.reported = report.number
        for entry in report.entries:
            self._record(holding, report.number, entry)
        if report.verdict is not None:
            self._settle(holding, report.verdict)
        return True

    def cancel(self, tenant: str, id: str) -> Task | None:
        """Ask for the task's end: at once where nobody holds it. None if there is no such task; raises Conflict."""
        holding = self.running.get((tenant, id))
        if holding is not None:
            if holding.task.cancel_requested_at is None:
                holding.task = holding.task._replace(cancel_requested_at=self._clock.now())
                self._canceling.add((tenant, id))
                self.writes.put(holding.task)
            return holding.task
        task = self.writes.find((tenant, id)) or self._store.task(tenant, id)
        if task is None or task.state == State.CANCELED:
            return task
        if task.state in ENDED:
            raise Conflict(f"task {id} has already {task.state}")
        self.ready.discard(task.agent, (tenant, id))
        now = self._clock.now()
        return self._end(task, State.CANCELED, task.events, cancel_requested_at=now)

    def release(self, claims: Iterable[Held]) -> None:
        """Give claims back as if they had never been made; one that is not the newest changes nothing."""
        for claim in claims:
            holding = self.running.get(claim[:2])
            if holding is not None and holding.task.fence == claim[2]:
                self._requeue(holding, counted=False)

    def worker_lost(self, worker: str, *, fault: bool) -> None:
        """Free all that a worker held, together; `fault` if its process died on a node that lives.

        Such a death is some task's fault, nobody knows whose: its tasks run again one at a time, and only one that
        takes a worker down while alone on it has used up an attempt.
        """
        for holding in list(self._by_worker[worker].values()):
            if fault:
                self._suspect(holding)
            else:
                self._requeue(holding, counted=False)
        self._by_worker.pop(worker, None)
        self._lone = {kind: lone for kind, lone in self._lone.items() if lone != worker}

    def release_all(self) -> None:
        """A new generation began: the workers of the last one are gone, and no task is to blame."""
        for worker in list(self._by_worker):
            self.worker_lost(worker, fault=False)

    def expire(self) -> list[Held]:
        """Take back the claims whose lease has run out, and say which."""
        now = self._clock.monotonic()
        lapsed = [holding for holding in self.running.values() if holding.lease_ends <= now]
        for holding in lapsed:
            self._suspect(holding)
        return [holding.held for holding in lapsed]

    def assign(self, workers: dict[str, tuple[Hello, int]]) -> dict[str, list[Claim]]:
        """New claims for these workers, never more than their free slots; the least busy takes first."""
        granted: dict[str, list[Claim]] = {}
        now = self._clock.now()
        order = sorted(workers.values(), key=lambda listener: len(self._by_worker[listener[0].id]))
        for place, (hello, call) in enumerate(order):
            tasks = self._lone_task(hello, now) if self._must_be_alone(hello, now) else []
            if self._lone.get(hello.kind) != hello.id:
                for agent, slots in hello.slots.items():
                    tasks += self._share(hello.id, agent, slots, now, others=len(order) - place - 1)
            if tasks:
                granted[hello.id] = [self._claim(task, hello.id, call) for task in tasks]
        return granted

    def beat(
        self, worker: str, held: tuple[Held, ...], arrived: Callable[[int | None], bool]
    ) -> tuple[list[Held], list[Held]]:
        """Renew the leases of the claims held. Returns those that are not this worker's any more, and those that were
        handed to it but never arrived (`arrived` says of a call whether its answer must have)."""
        ends = self._clock.monotonic() + LEASE
        lost = []
        for claim in held:
            holding = self._newest(worker, claim)
            if holding is None:
                lost.append(claim)
            else:
                holding.lease_ends = ends
        listed = {claim[:2] for claim in held}
        missing = [
            holding.held
            for ref, holding in self._by_worker[worker].items()
            if ref not in listed and arrived(holding.call)
        ]
        return lost, missing

    def cancels(self, worker: str) -> list[Held]:
        """The claims of a worker whose cancel was asked for."""
        return [
            holding.held for holding in self._by_worker[worker].values() if holding.task.cancel_requested_at is not None
        ]

    # parts of moves

    def _newest(self, worker: str, claim: Held) -> Holding | None:
        holding = self.running.get(claim[:2])
        if holding is None or holding.task.fence != claim[2] or holding.worker != worker:
            return None
        return holding

    def _record(self, holding: Holding, report: int, entry: StepDone | Emitted) -> None:
        task, seq = holding.task, holding.events
        holding.events += 1
        if isinstance(entry, StepDone):
            id, digest, value = entry.record.id, entry.record.digest, entry.record.value
            self.writes.steps.append(
                StepRow(
                    task.tenant,
                    task.id,
                    id.name,
                    id.key,
                    digest,
                    value,
                    seq,
                    task.attempts,
                    entry.at,
                    task.fence,
                    report,
                )
            )
        else:
            self._event(holding, seq, entry.type, entry.at, entry.step, entry.data, report)

    def _event(
        self, holding: Holding, seq: int, type: str, at: float, step: str = "", data: str = "{}", report: int = 0
    ) -> None:
        task = holding.task
        self.writes.events.append(
            EventRow(task.tenant, task.id, seq, type, at, task.attempts, step, data, task.fence, report)
        )

    def _settle(self, holding: Holding, verdict: Verdict) -> None:
        task = holding.task
        match verdict.ending:
            case Ending.COMPLETED:
                self._finish(holding, State.COMPLETED, output=verdict.output, error=None)
            case Ending.CANCELED if task.cancel_requested_at is not None:
                self._finish(holding, State.CANCELED)
            case Ending.FAILED:
                self._finish(holding, State.FAILED, error=verdict.error)
            case Ending.RETRY if task.attempts >= task.max_attempts:
                self._finish(holding, State.FAILED, error=verdict.error)
            case Ending.RETRY:
                self._requeue(holding, counted=True, run_at=verdict.retry_at, error=verdict.error, isolated=0)
            case _:
                self._requeue(holding, counted=False)

    def _suspect(self, holding: Holding) -> None:
        task = holding.task
        if not holding.alone:
            self._requeue(holding, counted=False, isolated=1)
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
        if task.attempts >= task.max_attempts:
            self._finish(holding, State.FAILED, error=error)
        else:
            self._requeue(holding, counted=True, isolated=1, error=error)

    def _requeue(self, holding: Holding, *, counted: bool, **changes: object) -> None:
        if holding.task.cancel_requested_at is not None:
            self._finish(holding, State.CANCELED)
            return
        self._let_go(holding)
        task = holding.task._replace(
            state=State.QUEUED.value,
            attempts=holding.task.attempts - (not counted),
            worker=None,
            events=holding.events,
            **changes,  # type: ignore[arg-type]
        )
        self._put(task, State.RUNNING)
        self.ready.add(task, self._clock.now())

    def _finish(self, holding: Holding, state: State, **changes: object) -> None:
        self._let_go(holding)
        self._end(holding.task, state, holding.events, **changes)

    def _end(self, task: Task, state: State, events: int, **changes: object) -> Task:
        ended = task._replace(
            state=state.value,
            worker=None,
            ended_at=self._clock.now(),
            events=events + 1,
            **changes,  # type: ignore[arg-type]
        )
        self._put(ended, task.state)
        return ended

    def _put(self, task: Task, was: str) -> None:
        self.counts[task.agent, was] -= 1
        self.counts[task.agent, task.state] += 1
        self.writes.put(task)

    def _let_go(self, holding: Holding) -> None:
        ref = (holding.task.tenant, holding.task.id)
        del self.running[ref]
        self._canceling.discard(ref)
        self._by_worker[holding.worker].pop(ref, None)

    def _hold(self, task: Task, *, events: int, reported: int, call: int | None, alone: bool) -> Holding:
        assert task.worker is not None
        ends = self._clock.monotonic() + LEASE
        holding = Holding(task, task.worker, ends, events, reported, call, alone)
        if task.cancel_requested_at is not None:
            self._canceling.add((task.tenant, task.id))
        self.running[task.tenant, task.id] = self._by_worker[task.worker][task.tenant, task.id] = holding
        return holding

    def _claim(self, task: Task, worker: str, call: int) -> Claim:
        now = self._clock.now()
        first = task.fence == 0
        claimed = task._replace(
            state=State.RUNNING.value,
            worker=worker,
            fence=task.fence + 1,
            attempts=task.attempts + 1,
            started_at=now if first else task.started_at,
        )
        self._put(claimed, task.state)
        holding = self._hold(claimed, events=task.events + 1, reported=0, call=call, alone=bool(task.isolated))
        if not first:  # the first start is implied by started_at
            self._event(holding, task.events, "attempt.started", now)
        return Claim(claimed)

    def _share(self, worker: str, agent: str, slots: int, now: float, others: int) -> list[Task]:
        """Up to the agent's free slots on this worker, leaving as much for each of the others."""
        if self.ready.head(agent, now, self.writes) is None:
            return []
        window = self.ready.window(agent)
        holds = sum(1 for holding in self._by_worker[worker].values() if holding.task.agent == agent)
        share = min(slots - holds, math.ceil(len(window) / (others + 1)))
        tasks: list[Task] = []
        while len(tasks) < share and self.ready.head(agent, now, self.writes) is not None:
            tasks.append(window.pop())
        return tasks

    def _must_be_alone(self, hello: Hello, now: float) -> bool:
        """Whether this worker is, or now becomes, the one that runs tasks alone."""
        waiting = any(self.ready.suspects(agent, now, self.writes) for agent in hello.slots)
        if waiting:
            self._lone.setdefault(hello.kind, hello.id)
        elif self._lone.get(hello.kind) == hello.id and not self._by_worker[hello.id]:
            del self._lone[hello.kind]
        return self._lone.get(hello.kind) == hello.id

    def _lone_task(self, hello: Hello, now: float) -> list[Task]:
        if self._by_worker[hello.id]:
            return []
        for agent in hello.slots:
            suspects = self.ready.suspects(agent, now, self.writes)
            if suspects:
                return [suspects.popleft()]
        return []
