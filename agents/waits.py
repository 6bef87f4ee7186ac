"""What a run waits for: a moment, a signal, agents it calls. Each wait is a step, and its record ends it for good."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from .branches import Branches, Wait
from .errors import StepError
from .ids import derived_id
from .journal import Journal, StepId, StepRecord
from .policies import YEAR

TIMED_OUT = '{"timeout":true}'  # the value of a wait for a signal that did not come in time

# In the place of a digest: which kind of wait a record belongs to. How long one waits is not compared.
MOMENT, SIGNAL, MAP = "moment", "signal", "map"


class SignalSent(NamedTuple):
    """A signal that no wait of the task has taken yet."""

    number: int
    name: str
    payload: str


News = StepRecord | SignalSent  # what may end a wait: a child's outcome, as the step that called it, or a signal


class Call(NamedTuple):
    """A call of another agent: `write` gives its input as JSON, `group` is what the run waits for (see Child)."""

    step: StepId
    digest: str
    agent: str
    group: str
    write: Callable[[], str]


class Child(NamedTuple):
    """A task to create for a call, unless it exists: `group` names the call, or the whole map that it is part of."""

    id: str
    step: StepId
    digest: str
    agent: str
    group: str
    input: str


class Keeper(Protocol):
    """What a host does for a run that may wait, besides recording its steps."""

    def now(self) -> float:
        """The clock that waits go by, in seconds since the epoch."""

    def note(self, step: StepRecord) -> None:
        """Record a step, in order with all else, and do not wait for it."""

    async def take(self, step: StepRecord, signal: int | None) -> None:
        """Record a wait for a signal together with the number of the one it took."""

    async def call(self, child: Child) -> None:
        """Have the child created. Raises Permanent for an agent that nobody runs."""


class Waits:
    """The waits of one run of a task: what is recorded of them, and what has come for it since."""

    def __init__(
        self,
        task: tuple[str, str],
        journal: Journal,
        keeper: Keeper,
        suspend: Callable[[tuple[Wait, ...]], None],
        *,
        signals: Iterable[SignalSent] = (),
        sent: int = 0,
        started: Iterable[str] = (),
    ) -> None:
        """`task` is (tenant, id); of the `sent` signals so far `signals` are those not taken; `started` are the steps
        that began once and for all."""
        self.keeper = keeper
        self.started = set(started)
        self.branches = Branches(keeper.now, suspend)
        self._task = task
        self._journal = journal
        self._signals: dict[str, deque[SignalSent]] = {}
        self._sent = sent
        self._ahead: dict[int, SignalSent] = {}  # those that came before an earlier one has
        self._groups: dict[StepId, str] = {}  # of calls that were reached
        self._called: set[StepId] = set()  # in this run
        self._heard: list[StepId] = []  # children that ended meanwhile
        self._ended: defaultdict[str, int] = defaultdict(int)  # those of them whose call was reached by then, by group
        for each in signals:
            self._keep(each)

    def hear(self, news: News) -> None:
        """Something came: whoever waits for it goes on."""
        if isinstance(news, SignalSent):
            # What was lost on its way must not be overtaken: the host tells of it in the next run.
            self._ahead[news.number] = news
            while (following := self._ahead.pop(self._sent, None)) is not None:
                self._sent += 1
                self._keep(following)
        else:
            self._journal.add(news)
            self._heard.append(news.id)
            self._ended[self._groups.get(news.id, "")] += 1
        self.branches.poke()

    def ends(self, group: str) -> int:
        """How many children of the group this run heard the end of."""
        return sum(1 for step in self._heard if self._groups.get(step) == group)

    def child_id(self, step: StepId) -> str:
        """The id of the task that this step calls: the same in every attempt."""
        return derived_id(*self._task, step.name, step.key)

    async def sleep(self, step: StepId, seconds: float) -> None:
        """Returns when so many seconds are over since the run first came here."""
        end = self._moment(step, seconds)
        await self.branches.wait(Wait(lambda: self.keeper.now() >= end, until=end))

    async def signal(self, step: StepId, name: str, within: float | None) -> StepRecord:
        """The record of the signal that this wait took, or of its timeout."""
        found = self._journal.find(step, SIGNAL)
        return found or await self._next_signal(step, name, within)

    async def call(self, call: Call) -> StepRecord:
        """The record of what the child came to."""
        self._groups[call.step] = call.group
        found = self._journal.find(call.step, call.digest)
        if found is None:
            await self._start(call)
            await self.branches.wait(Wait(lambda: call.step in self._journal, group=call.group, left=lambda: 1))
            found = self._journal.find(call.step, call.digest)
            assert found is not None, "what was waited for is there"
        return found

    async def map(self, step: StepId, calls: Sequence[Call], parallel: int | None) -> list[tuple[Call, StepRecord]]:
        """What all children came to; only the first that failed where one did.

        Children are called in order. With `parallel` so many are in flight, the next ones are called when half of
        them have ended, and once a failure is known no more are; which one it was is recorded, for a replay may know
        of others. Without, all are called at once and waited for.
        """
        noted = self._journal.find(step, MAP)
        if noted is not None:
            calls = [calls[int(noted.value)]]
        self._groups.update((call.step, call.group) for call in calls)
        while True:
            ended = [(call, record) for call in calls if (record := self._journal.find(call.step, call.digest))]
            complete = len(ended) == len(calls)
            failed = next((each for each in ended if is_error(each[1])), None) if parallel or complete else None
            if failed is not None:
                if not complete:
                    self._note(StepRecord(step, MAP, str(calls.index(failed[0]))))
                return [failed]
            if complete:
                return ended
            missing = [call for call in calls if call.step not in self._journal]
            await self._some(str(step), missing[:parallel], last=parallel is None or len(missing) <= parallel)

    async def _some(self, group: str, calls: Sequence[Call], *, last: bool) -> None:
        """Call these, as far as this run has not, and wait until half of them have ended; all of them, if they are the
        last."""
        enough = self._ended[group] + (len(calls) if last else math.ceil(len(calls) / 2))
        for call in calls:
            if call.step not in self._called:
                await self._start(call)
        left = Wait(lambda: self._ended[group] >= enough, group=group, left=lambda: enough - self._ended[group])
        await self.branches.wait(left)

    async def _start(self, call: Call) -> None:
        self._called.add(call.step)
        child = Child(self.child_id(call.step), call.step, call.digest, call.agent, call.group, call.write())
        with self.branches.moving():
            await self.keeper.call(child)

    async def _next_signal(self, step: StepId, name: str, within: float | None) -> StepRecord:
        moment = StepId(step.name, f"/until{step.key}")  # no other step's: their keys begin with # or :
        until = None if within is None else self._moment(moment, within)
        while (sent := self._take(name)) is None and not self._is_past(until):
            wait = Wait(lambda: bool(self._signals.get(name)) or self._is_past(until), until, signal=name)
            await self.branches.wait(wait)
        value = TIMED_OUT if sent is None else f'{{"payload":{sent.payload}}}'
        record = StepRecord(step, SIGNAL, value)
        self._journal.add(record)
        with self.branches.moving():
            await self.keeper.take(record, None if sent is None else sent.number)
        return record

    def _take(self, name: str) -> SignalSent | None:
        kept = self._signals.get(name)
        return kept.popleft() if kept else None

    def _keep(self, sent: SignalSent) -> None:
        self._signals.setdefault(sent.name, deque()).append(sent)

    def _is_past(self, until: float | None) -> bool:
        return until is not None and self.keeper.now() >= until

    def _moment(self, step: StepId, seconds: float) -> float:
        """The end of so many seconds from the first time that the run comes here."""
        found = self._journal.find(step, MOMENT)
        if found is None:
            found = StepRecord(step, MOMENT, json.dumps(self.keeper.now() + _seconds(step, seconds)))
            self._note(found)
        return float(found.value)

    def _note(self, record: StepRecord) -> None:
        self.keeper.note(record)
        self._journal.add(record)


def is_error(record: StepRecord) -> bool:
    """Whether a child's outcome is its error."""
    return record.value.startswith('{"error":')


def _seconds(step: StepId, seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not -math.inf < seconds <= YEAR:
        raise StepError(str(step), f"waits a number of seconds, at most a year, and was given {seconds!r}")
    return max(0.0, float(seconds))
