"""The ledger's working state, and the few moves that all others are made of.

A move changes this state at once and says what must be stored for it in `writes`. The ledger commits the writes
before anyone is told of the move; a commit that fails throws the book away and reads a new one from the store. So
what is not durable is seen by nobody but the ledger's own ticks, and those who measure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex

from . import waits
from .alarms import Alarms
from .apikeys import ApiKey
from .claims import AWAY, LEASE, Claim, Held, Hello, News
from .client import Limit
from .lanes import of_version, words
from .limits import Rule, agent_key
from .ready import Ready
from .references import NAMED, references
from .store import EventRow, LaneState, Store, Tally, Writes, tally
from .task import ENDED, NEW, RESUMED, Ref, State, Task
from .waits import Waits

Owner = tuple[str, str]  # (tenant, limit key)
Side = tuple[str | tuple[str, ...], ...]  # a kind of worker, and the lines that it serves
OPEN = frozenset(State) - ENDED


@dataclass(slots=True)
class Holding:
    """A task that a worker holds; lease on the ledger's monotonic clock."""

    task: Task
    worker: str
    lease_ends: float
    events: int  # numbered so far
    reported: int  # the last report applied
    call: int | None  # the worker's call that the claim answered; None: handed over before this book was read
    alone: bool  # nothing else runs beside it
    began: float  # on the ledger's monotonic clock
    unlisted: bool = False  # the worker was heard since, and did not list it: it may never have arrived
    news: int = 0  # how much has happened since the claim ...
    ends: Tally[str] = field(default_factory=tally)  # ... children's ends among it, by group ...
    signals: dict[int, str] = field(default_factory=dict)  # ... and names of signals that the run has not taken

    @property
    def held(self) -> Held:
        return self.task.tenant, self.task.id, self.task.fence

    @property
    def is_away(self) -> bool:
        """Whether a worker of another cluster holds it, of whom nothing will be heard."""
        return self.worker.startswith(AWAY)


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks: `now` in seconds since the epoch, for what is stored, and `monotonic`, for leases."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


class Book:
    """Who holds which task, what is next, and what the current tick has to write."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self.clock = clock
        self.id = token_hex(8)
        self.writes = Writes()
        self.ready = Ready(store.ready, store.due)
        self.running: dict[Ref, Holding] = {}
        self.by_worker: defaultdict[str, dict[Ref, Holding]] = defaultdict(dict)
        self.canceling: set[Ref] = set()  # running, and asked to end
        self.lone: dict[Side, str] = {}  # the worker that takes nothing but tasks to run alone
        self.counts: Counter[tuple[str, str]] = Counter()
        self.lanes: Counter[LaneState] = Counter()  # those of the tasks that are in lanes and have not ended
        self.rules: dict[Owner, Rule] = {}
        self.api_keys: dict[str, ApiKey] = {}  # by id
        self.key_changes = 0  # to them, since this book was read
        self.using: Counter[Owner] = Counter()  # tasks running by limit key, an agent's own among them
        self.busy: Counter[tuple[str, str]] = Counter()  # slots in use by (worker, agent)
        self.passed: defaultdict[Owner, set[str]] = defaultdict(set)  # lines in which a key was passed over
        self.later: Alarms[Owner] = Alarms()  # when a key that was passed over may be served again
        self.news: defaultdict[str, list[tuple[Held, News]]] = defaultdict(list)  # by worker, not sent yet
        self.gone: set[Ref] = set()  # tasks that this tick deletes

    async def load(self, away_until: float, *, apart: bool) -> None:
        """Read the store; to be called once, before anything else. `apart`: what is held there is held by workers of
        another cluster. That is to be stored: whoever reads this book after us must not take them for workers of ours.
        `away_until`: when the leases end of those who are of another, who renew nothing here.
        """
        now, store = self.clock.now(), self._store
        self.counts.update({(agent, state): n for agent, state, n in await store.counts()})
        self.lanes.update({(agent, lane, state): n for agent, lane, state, n in await store.lanes()})
        self.rules = {(rule.tenant, rule.key): rule for rule in await store.rules()}
        self.api_keys = {key.id: key for key in await store.api_keys()}
        for queue in await store.queues():
            self.ready.know(queue)
        for queue, at in await store.dues(now):
            self.ready.wake(queue, at)
        for task in await store.running():
            events, reported = await store.progress(task.tenant, task.id, task.fence)
            if apart and not str(task.worker).startswith(AWAY):
                task = task.but(worker=f"{AWAY}{task.worker}")
                self.put(task, task.state)
            last = max(events, task.events)
            holding = self.hold(task, events=last, reported=reported, call=None, alone=bool(task.isolated))
            if holding.is_away:
                holding.lease_ends = away_until

    def any(self, agent: str | None, state: str) -> bool:
        """Whether there is a task of this agent (None: of any) in this state."""
        agents = {name for name, _ in self.counts} if agent is None else {agent}
        return any(self.counts[name, state] > 0 for name in agents)

    def has_for(self, worker: Hello) -> bool:
        """Whether the next tick may have something for this worker."""
        if self.ready.hungry or self.canceling or worker.id in self.news:
            return True
        lines = (line for agent in worker.slots for line in worker.lines_of(agent))
        return bool(self.ready) and any(map(self.ready.any, lines))

    def limit(self, owner: Owner) -> Limit:
        """The limits of a key, and how many of its tasks run."""
        return Limit(self.rules.get(owner) or Rule(*owner), self.using[owner])

    def take_writes(self) -> Writes:
        """What this tick commits; the next one starts empty."""
        writes, self.writes, self.gone = self.writes, Writes(), set()
        for (agent, was, state), number in writes.arrows.items():
            if was:
                writes.counts[agent, was] -= number
            writes.counts[agent, state] += number
        for key, change in writes.counts.items():
            self.counts[key] += change
        for lane, change in writes.lanes.items():
            self.lanes[lane] += change
            if not self.lanes[lane]:
                del self.lanes[lane]
        return writes

    def look(self, ref: Ref, stored: Task | None) -> Task | None:
        """The task as this tick has it so far, where `stored` is what the store has."""
        holding = self.running.get(ref)
        if self.gone and ref in self.gone:
            return None
        return holding.task if holding is not None else self.writes.find(ref) or stored

    def newest(self, worker: str, claim: Held) -> Holding | None:
        """The holding, if this claim of this worker is the newest of its task."""
        holding = self.running.get(claim[:2])
        if holding is None or holding.task.fence != claim[2] or holding.worker != worker:
            return None
        return holding

    # what moves are made of

    def accept(self, task: Task) -> None:
        """A task that is new."""
        self.writes.new[task.tenant, task.id] = task
        self.writes.arrows[task.agent, "", task.state] += 1
        if task.lane:
            self.writes.lanes[task.agent, task.lane, task.state] += 1
        self.refer(task, task.input)
        if task.state == State.QUEUED:
            self.ready.add(task, self.clock.now())

    def claim(self, task: Task, worker: str, call: int, version: str = "") -> Claim:
        """Hand a queued task to a worker. A resume after a wait goes on with the attempt that it is. What runs from
        here on goes on with workers of that version; '': with any."""
        now = self.clock.now()
        begins = task.rank == NEW
        claimed = task.but(
            state=State.RUNNING.value,
            worker=worker,
            fence=task.fence + 1,
            attempts=task.attempts + begins,
            started_at=now if task.started_at is None else task.started_at,
            waiting_on=None,
        )
        if version and (lane := of_version(task.lane, version)) != task.lane:
            claimed = claimed.but(lane=lane)
            self.writes.twice.add(task.ref)  # no plain claim: the lane is to be stored too
        self.put(claimed, task.state, task.lane)
        holding = self.hold(claimed, events=task.events + begins, reported=0, call=call, alone=bool(task.isolated))
        if begins and task.events:  # a start that is the first event of all is implied by started_at
            data = "{}" if task.error is None else f'{{"error":{task.error}}}'
            self.event(holding, task.events, "attempt.started", now, data=data)
        self.writes.claimed.append(claimed)
        return Claim(claimed, now)

    def adopt(self, task: Task, worker: str, call: int, began: float, version: str = "") -> Task:
        """A task that is new, and whose first attempt a worker of that version began some time ago."""
        lane = of_version(task.lane, version) if version else task.lane
        claimed = task.but(state=State.RUNNING.value, worker=worker, fence=1, attempts=1, started_at=began, lane=lane)
        self.writes.new[claimed.ref] = claimed
        self.writes.arrows[claimed.agent, "", claimed.state] += 1
        if lane:
            self.writes.lanes[claimed.agent, claimed.lane, claimed.state] += 1
        self.refer(claimed, claimed.input)
        self.hold(claimed, events=1, reported=0, call=call, alone=False)
        self.writes.claimed.append(claimed)
        return claimed

    def requeue(self, holding: Holding, *, counted: bool, **changes: object) -> None:
        """Back to the queue; `counted` if the attempt is over, else it goes on as if this claim had never been."""
        task = holding.task
        if task.cancel_requested_at is not None:
            self.finish(holding, State.CANCELED)
            return
        self.let_go(holding)
        if counted:
            changes = {"rank": NEW, "ran": 0.0, **changes}
        elif task.rank == NEW:
            changes = {"attempts": task.attempts - 1, **changes}
        if task.lane and not _has_begun(holding):
            changes = {"lane": of_version(task.lane), **changes}
        self.enqueue(task, events=holding.events, worker=None, **changes)

    def enqueue(self, task: Task, **changes: object) -> Task:
        """A task that is on record becomes queued."""
        queued = task.but(state=State.QUEUED.value, **changes)
        self.put(queued, task.state, task.lane)
        self.ready.add(queued, self.clock.now())
        return queued

    def suspend(self, holding: Holding, waiting_on: str, *, until: float, ran: float) -> None:
        """The run waits, and nobody holds it meanwhile."""
        self.let_go(holding)
        task, now = holding.task, self.clock.now()
        self.event(holding, holding.events, "waiting", now, data=waiting_on)
        waiting = task.but(
            state=State.WAITING.value,
            worker=None,
            waiting_on=waiting_on,
            run_at=until,
            ran=task.ran + ran,
            isolated=0,
            events=holding.events + 1,
            lane=task.home,
        )
        self.put(waiting, task.state, task.lane)

    def wake(self, task: Task, **changes: object) -> Task:
        """What a waiting task waits for has come: it goes on at home, before what is new of its priority."""
        return self.enqueue(task, rank=RESUMED, run_at=0.0, waiting_on=None, lane=task.home, **changes)

    def relocate(self, holding: Holding, lane: str, *, ran: float) -> None:
        """The run goes on with a worker of another lane, as soon as one is free."""
        self.let_go(holding)
        task = holding.task
        self.event(holding, holding.events, "waiting", self.clock.now(), data=waits.write(Waits(worker=words(lane))))
        changes = {"rank": RESUMED, "run_at": 0.0, "isolated": 0, "ran": task.ran + ran}
        self.enqueue(task, lane=lane, worker=None, events=holding.events + 1, **changes)

    def revise(self, task: Task, **changes: object) -> None:
        """Change a task on record that nobody holds, and nothing of where it stands."""
        if task.state == State.QUEUED:
            self.ready.discard(task)
            self.enqueue(task, **changes)
        else:
            self.put(task.but(**changes), task.state)

    def finish(self, holding: Holding, state: State, **changes: object) -> None:
        """The end of a task that is held."""
        self.let_go(holding)
        self.end(holding.task, state, holding.events, **changes)

    def end(self, task: Task, state: State, events: int, **changes: object) -> Task:
        """The end of a task that nobody holds."""
        ended = task.but(
            state=state.value,
            worker=None,
            waiting_on=None,
            ended_at=self.clock.now(),
            events=events + 1,
            **changes,
        )
        if task.state == State.QUEUED:
            self.ready.discard(task)
        self.put(ended, task.state)
        self.writes.ended.append(ended)
        return ended

    def forget(self, task: Task) -> None:
        """An ended task goes, with all that is kept of it; who asks for it later in this tick finds nothing."""
        self.gone.add(task.ref)
        self.writes.gone.append(task.ref)
        self.writes.counts[task.agent, task.state] -= 1

    def put(self, task: Task, was: str, left: str | None = None) -> None:
        """The task as it is to be stored, the state that it had before, and the lane where that may be another."""
        if task.state != was:
            self.writes.arrows[task.agent, was, task.state] += 1
        if task.lane or left:
            self._move_lanes(task, was, task.lane if left is None else left)
        self.writes.put(task)

    def _move_lanes(self, task: Task, was: str, left: str) -> None:
        if was in OPEN and left:
            self.writes.lanes[task.agent, left, was] -= 1
        if task.state in OPEN and task.lane:
            self.writes.lanes[task.agent, task.lane, task.state] += 1

    def event(
        self, holding: Holding, seq: int, type: str, at: float, step: str = "", data: str = "{}", report: int = 0
    ) -> None:
        task = holding.task
        self.writes.events.append(
            EventRow(task.tenant, task.id, seq, type, at, task.attempts, step, data, task.fence, report)
        )

    def refer(self, task: Task, text: str) -> None:
        """The task names the artifacts that this JSON text names."""
        if NAMED in text:  # few do
            self.writes.references.update(references(task.tenant, task.id, text))

    def hold(self, task: Task, *, events: int, reported: int, call: int | None, alone: bool) -> Holding:
        assert task.worker is not None
        now = self.clock.monotonic()
        holding = Holding(task, task.worker, now + LEASE, events, reported, call, alone, now)
        if task.cancel_requested_at is not None:
            self.canceling.add((task.tenant, task.id))
        self.running[task.tenant, task.id] = self.by_worker[task.worker][task.tenant, task.id] = holding
        self.using[task.tenant, task.limit_key] += 1
        self.using[agent_key(task.agent)] += 1
        self.busy[task.worker, task.agent] += 1
        return holding

    def let_go(self, holding: Holding) -> None:
        task = holding.task
        ref = (task.tenant, task.id)
        del self.running[ref]
        self.canceling.discard(ref)
        self.by_worker[holding.worker].pop(ref, None)
        self.busy[holding.worker, task.agent] -= 1
        for owner in ((task.tenant, task.limit_key), agent_key(task.agent)):
            self.using[owner] -= 1
            if not self.using[owner]:
                del self.using[owner]
            if owner in self.passed:
                self.reconsider(owner)

    def forget_worker(self, worker: str) -> None:
        """Nothing more is said to this worker, and it holds nothing."""
        self.by_worker.pop(worker, None)
        self.news.pop(worker, None)
        self.busy = Counter({key: number for key, number in self.busy.items() if key[0] != worker})
        self.lone = {side: lone for side, lone in self.lone.items() if lone != worker}

    def reconsider(self, owner: Owner) -> None:
        """A key that was passed over may be served again, as far as its limits go."""
        for line in self.passed.pop(owner, ()):
            self.ready.resume(line, owner)


def _has_begun(holding: Holding) -> bool:
    """Whether there is anything on record that a run would have to go on from, beside the starts of its attempts."""
    return holding.events > holding.task.attempts or holding.task.children > 0


def is_over(task: Task) -> bool:
    """Whether the task has ended, or is to."""
    return task.state in ENDED or task.cancel_requested_at is not None
