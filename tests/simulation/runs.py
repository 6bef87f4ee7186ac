"""One claim's run in a simulated worker: a program that replays its journal, and unwinds once every branch waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agents import Resources
from agents.events import Emitted
from agents.journal import StepId, StepRecord
from cluster.claims import Called, Claim, Ending, Entry, News, SignalSent, StepDone, Verdict
from cluster.placed import Placed
from cluster.task import Origin
from cluster.waits import Waits, joined, write

from .programs import SHAPES, Program, output

if TYPE_CHECKING:
    from .workers import SimWorker

ATTEMPTS = 3  # of children
Over = Callable[[], bool]


class Fails(Exception):
    """The program failed; again if `retry`."""

    def __init__(self, retry: bool) -> None:
        self.retry = retry


class Line:
    """What one claim has to report, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[Entry, asyncio.Future[None] | None]] = []
        self.verdict: Verdict | None = None
        self.number = 0
        self.shut = False


class Run:
    """Ends in one verdict, or in none where its claim is lost."""

    def __init__(self, worker: SimWorker, claim: Claim) -> None:
        self.worker = worker
        self.claim = claim
        self.task = claim.task
        self.line = Line()
        self.journal = {record.id.name + record.id.key: record.value for record in claim.journal}
        self.signals = list(claim.signals)
        self._sent = claim.task.signals  # of the signals that were sent, so many are known of without a gap
        self._ahead: dict[int, SignalSent] = {}
        self.heard = 0
        self.lease_ends = 0.0
        self._loop = worker.world.loop
        self._arrived = self._loop.time()
        self._emitted = 0
        self._branches = 1
        self._waiting: dict[asyncio.Future[None], tuple[Over, Callable[[], Waits]]] = {}
        self._still = asyncio.Event()  # every branch waits
        self._body: asyncio.Task[Any] | None = None
        self._why = ""
        shape, lines = worker.post.shape, worker.made.lines_of(self.task.agent)
        self._place = Placed(self.task, Resources(cpus=1), shape, lines)

    # what the worker does with it

    async def run(self) -> None:
        """Until there is a verdict."""
        verdict = await self._outcome()
        if not self.line.shut:
            self.worker.settle(self, verdict)

    def hear(self, news: tuple[News, ...]) -> None:
        """What may end a wait has come."""
        for one in news:
            self.heard += 1
            if isinstance(one, SignalSent):
                self._ahead[one.number] = one  # what was lost on its way must not be overtaken
                while (following := self._ahead.pop(self._sent, None)) is not None:
                    self._sent += 1
                    self.signals.append(following)
            else:
                self.journal[one.id.name + one.id.key] = one.value
        self._look()

    def interrupt(self, why: str) -> None:
        """Unwind: `cancel`, `deadline` or `release` decide the verdict, `lost` has none."""
        if why == "lost":
            self.line.shut = True
        self._why = self._why or why
        if self._body is not None:
            self._body.cancel()

    # the verdict

    async def _outcome(self) -> Verdict:
        if self._why:
            return self._interrupted()
        self._body = body = asyncio.create_task(self._program(json.loads(self.task.input), ""))
        if self.task.deadline is not None:
            self._loop.call_later(max(0.0, self.task.deadline - self._now()), self.interrupt, "deadline")
        while not body.done():
            still = asyncio.create_task(self._still.wait())
            await asyncio.wait([body, still], return_when=asyncio.FIRST_COMPLETED)
            still.cancel()
            self._still.clear()
            if not body.done() and self._is_still():
                body.cancel()
                found = [waits() for _, waits in self._waiting.values()]
                ran = self._loop.time() - self._arrived
                lane = next((waits.worker[1:] for waits in found if waits.worker), None)
                if lane is not None:
                    return Verdict(Ending.MOVED, ran=ran, lane=lane)
                waits = joined(found)
                return Verdict(Ending.WAITING, waiting_on=write(waits), ran=ran, heard=self.heard)
        return self._ended(body)

    def _ended(self, body: asyncio.Task[Any]) -> Verdict:
        if body.cancelled():
            return self._interrupted()
        failure = body.exception()
        if failure is None:
            return Verdict(Ending.COMPLETED, output=json.dumps(body.result()))
        if not isinstance(failure, Fails):
            raise failure
        if failure.retry:
            later = self._now() + self.worker.world.roll.choice((0.0, 0.5, 5.0))
            return Verdict(Ending.RETRY, error=self._error("error"), retry_at=later)
        return Verdict(Ending.FAILED, error=self._error("permanent"))

    def _interrupted(self) -> Verdict:
        assert self._why, "a program was cancelled by nobody"
        if self._why == "cancel":
            return Verdict(Ending.CANCELED)
        if self._why == "deadline":
            return Verdict(Ending.FAILED, error=self._error("expired"))
        return Verdict(Ending.RELEASED)

    def _error(self, type: str) -> str:
        return json.dumps({"type": type, "step": None, "attempt": self.task.attempts})

    def _is_still(self) -> bool:
        waiting = self._waiting.values()
        return len(self._waiting) == self._branches > 0 and not any(over() for over, _ in waiting)

    def _look(self) -> None:
        for future, (over, _) in list(self._waiting.items()):
            if over() and not future.done():
                future.set_result(None)
        if self._is_still():
            self._still.set()

    # what the program does

    async def _program(self, program: Program, path: str) -> list[Any]:
        for place, operation in enumerate(program):
            await self._do(operation, f"{path}{place}")
        return output(program, self.journal, path)

    async def _do(self, operation: list[Any], path: str) -> None:
        match operation:
            case ["step"] | ["later"] | ["embed"] | ["index"]:
                await self._step(operation[0], path, wait=operation[0] != "later")
            case ["once"]:
                await self._once(path)
            case ["emit"]:
                self._emitted += 1
                if self._emitted > self.claim.emitted:
                    self._put(Emitted("progress", "", self._now(), json.dumps({"n": self._emitted})))
            case ["sleep", seconds]:
                until = await self._moment(f"sleep:{path}", seconds)
                await self._until(lambda: self._now() >= until, lambda: Waits(until=until))
            case ["signal", name, timeout]:
                await self._signal(name, timeout, path)
            case ["call", agent, program]:
                await self._call("call", f":{path}", agent, program, f"call:{path}")
                await self._children(f"call:{path}", [f"call:{path}"], 1)
            case ["map", agent, parts, parallel]:
                await self._map(agent, parts, parallel, path)
            case ["gather", branches]:
                await self._gather(branches, path)
            case ["flaky", odds]:
                if not self.worker.world.quiet and self.worker.world.roll.random() < odds:
                    raise Fails(retry=True)
            case ["fail"]:
                raise Fails(retry=False)
            case ["poison"]:
                self.worker.world.poisoned(self.worker)
                await asyncio.Event().wait()

    async def _step(self, name: str, path: str, *, wait: bool) -> None:
        id = f"{name}:{path}"
        if id in self.journal:
            return
        await self._go_to(name)
        await self._may_start()
        self._begin(id)
        if self.worker.world.roll.random() < 0.5:
            await asyncio.sleep(self.worker.world.roll.random() * 2)
        await self._record(id, json.dumps(f"{id} {self.worker.world.nonce()}"), wait=wait)

    async def _go_to(self, name: str) -> None:
        """Returns where the step may run here; a run that must move waits for that."""
        needed = self._place.elsewhere(StepId(name, ""), SHAPES.get(name))
        if needed is not None:
            await self._until(lambda: False, lambda: Waits(worker=f"@{needed}"))

    async def _once(self, path: str) -> None:
        id = f"once:{path}"
        if id in self.journal:
            return
        if id in self.claim.started:  # nobody knows what became of it, and a person says
            await self._record(id, '"unknown"', wait=True)
            return
        await self._go_to("once")
        await self._may_start()
        await self._put(Emitted("step.started", id, self._now(), "{}"), wait=True)
        await self._may_start()
        self._begin(id, once=True)
        await asyncio.sleep(self.worker.world.roll.random())
        await self._record(id, json.dumps(f"{id} {self.worker.world.nonce()}"), wait=True)

    async def _moment(self, id: str, seconds: float) -> float:
        """The recorded end of a wait."""
        if id not in self.journal:
            await self._record(id, json.dumps(self._now() + seconds), wait=False)
        return float(json.loads(self.journal[id]))

    async def _signal(self, name: str, timeout: float | None, path: str) -> None:
        id = f"signal {name}:{path}"
        if id in self.journal:
            return
        until = None if timeout is None else await self._moment(f"signal {name} until:{path}", timeout)

        def there() -> bool:
            return any(signal.name == name for signal in self.signals)

        await self._until(
            lambda: there() or (until is not None and self._now() >= until),
            lambda: Waits(until=until, signals=(name,)),
        )
        found = min((signal for signal in self.signals if signal.name == name), default=None)
        if found is None:
            await self._record(id, '{"timeout": true}', wait=True)
            return
        self.signals.remove(found)
        await self._record(id, f'{{"payload": {found.payload}}}', wait=True, signal=found.number)

    async def _map(self, agent: str, parts: list[Program], parallel: int, path: str) -> None:
        group = f"map:{path}"
        ids = [f"map:{path}.{place}" for place in range(len(parts))]
        most = parallel or len(parts)
        called: list[str] = []
        for place, (id, part) in enumerate(zip(ids, parts, strict=True)):
            await self._children(group, called, len(called) - most + 1)
            if id not in self.journal:
                await self._call("map", f":{path}.{place}", agent, part, group)
            called.append(id)
        await self._children(group, called, len(called))

    async def _children(self, group: str, ids: list[str], ended: int) -> None:
        """Returns once so many of these calls have their outcome."""

        def left() -> int:
            return ended - sum(id in self.journal for id in ids)

        await self._until(lambda: left() <= 0, lambda: Waits(children=((group, left()),)))

    async def _call(self, name: str, key: str, agent: str, program: Program, group: str) -> None:
        id = f"{self.task.id}/{name}{key}"
        if f"{name}{key}" in self.journal:
            return
        depth = (self.task.origin.depth if self.task.origin else 0) + 1
        origin = Origin(name, key, "d", group, depth)
        await self._put(Called(id, agent, "v1", json.dumps(program), ATTEMPTS, 3600.0, origin))

    async def _gather(self, branches: list[Program], path: str) -> None:
        self._branches += len(branches) - 1
        left = len(branches)

        async def branch(place: int) -> None:
            nonlocal left
            await self._program(branches[place], f"{path}.{place}.")
            left -= 1
            if left:
                self._branches -= 1
                self._look()

        async with asyncio.TaskGroup() as group:
            for place in range(len(branches)):
                group.create_task(branch(place))

    # what it is made of

    def _now(self) -> float:
        """The ledger's clock, as this worker knows it."""
        return self.claim.now + self._loop.time() - self._arrived

    def _begin(self, id: str, *, once: bool = False) -> None:
        with self.worker.world.oracle.watching():
            self.worker.world.ran(self.worker, self.task, id, once=once)

    async def _may_start(self) -> None:
        while self._loop.time() >= self.lease_ends:
            await asyncio.sleep(0.5)

    async def _until(self, over: Over, waits: Callable[[], Waits]) -> None:
        while not over():
            future = self._loop.create_future()
            self._waiting[future] = over, waits
            moment = waits().until
            if moment is not None:
                self._loop.call_later(max(0.0, moment - self._now()), self._look)
            self._look()
            try:
                await future
            finally:
                del self._waiting[future]

    async def _record(self, id: str, value: str, *, wait: bool, signal: int | None = None) -> None:
        name, _, key = id.partition(":")
        self.journal[id] = value
        await self._put(StepDone(StepRecord(StepId(name, f":{key}"), "d", value), self._now(), signal), wait=wait)

    def _put(self, entry: Entry, *, wait: bool = False) -> asyncio.Future[None]:
        """To be awaited, where the commit is; without `wait` it is done at once."""
        done = self._loop.create_future()
        if not wait:
            done.set_result(None)
        if not self.line.shut:
            self.line.entries.append((entry, done if wait else None))
            self.worker.changed(self)
        return done
