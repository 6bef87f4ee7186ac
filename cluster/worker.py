"""A worker: it pulls claims, runs them side by side, and reports what they reach."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from threading import Lock
from typing import Any

from agents import Agent, Resources
from agents.artifacts import ArtifactStore, artifact_store

from .attempt import Attempt, Tools, Why, limit
from .callees import Callees, callees_of
from .calls import Calls, held_as
from .claims import Beat, Claim, Ending, Held, Hello, Orders, Picture, PoolLink, Verdict
from .durable import RESULT_BYTES
from .errors import Unavailable
from .heartbeat import Heartbeat
from .lanes import of_versions
from .lease import Lease
from .pace import Pace
from .reports import Reporter

log = logging.getLogger("rubato.worker")

SEEN = 20_000  # claims remembered, so that none is run twice
SPARE_THREADS = 8  # beside one for each slot: artifacts, and steps of one run in parallel
MOST_THREADS = 256


class Worker:
    """Runs the claims of one process. `die` must end that process at once; it is called where code of a run cannot
    be stopped in any other way."""

    def __init__(
        self,
        hello: Hello,
        agents: Mapping[str, Agent[Any, Any]],
        link: PoolLink,
        artifacts_url: str,
        *,
        die: Callable[[], None],
        pace: Pace | None = None,
        callees: Callees | None = None,
        result_bytes: int = RESULT_BYTES,
        shape: Resources | None = None,
    ) -> None:
        """`callees`: the agents that runs may call, wherever they run; None: those of this worker. `shape`: what this
        worker takes of its node; None: what each agent asks for."""
        self.hello = hello  # what the ledger is told; without slots once this worker leaves
        self._made = hello  # for all that it was made for
        self._agents = agents
        self._link = link
        self._die = die
        self._pace = pace or Pace()
        self._calls = Calls(self._pace.clock)
        self._reporter = Reporter(link, self._calls, self, self._pace)
        self.heartbeat = Heartbeat(hello.id, link, self._calls, self._heard, die, self._pace)
        known = callees if callees is not None else callees_of(map(type, agents.values()))
        self._tools = Tools(
            *(_stores(artifacts_url), self._pace, known, link, result_bytes),
            *(self._look_for_end, self._poisoned_by, hello.lines_of, shape),
        )
        self._attempts: dict[Held, Attempt] = {}  # until their verdicts are durable
        self._runs: set[asyncio.Task[None]] = set()  # until they have unwound
        self._seen: OrderedDict[Held, None] = OrderedDict()
        self._threads = min(sum(hello.slots.values()) + SPARE_THREADS, MOST_THREADS)
        self._leaving = False
        self._parts = math.inf  # when what it holds is cut short, by the loop's clock
        self._flushing = False
        self._poisoned = False
        self._gate = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done = asyncio.Event()
        self._ended: Future[None] = Future()

    async def run(self) -> None:
        """Work until drained, stopped, or told to by the ledger; a worker with code it cannot stop then dies."""
        with self._gate:
            if self._ended.done():
                return
            self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(self._threads, "step"))
        self.heartbeat.start()
        try:
            await self._work()
        finally:
            self._done.set()
            self.heartbeat.stop()
            await self._abandon()

    async def drain(self, within: float | None = None) -> None:
        """Take no more, finish what is held, and return when `run` has ended. What is not finished after `within`
        seconds is given back. Safe from any thread, and more than once: the shortest bound holds."""
        await self._end(lambda: self._leave(within))

    async def vacate(self, within: float) -> None:
        """This worker's node goes in so many seconds, infinite where nobody knows when. Take no more, and give each
        claim back as soon as no step of it is in progress; steps may end that do so in time for what came of them to
        be recorded, and none begins. As safe as `drain`, and returns when that does."""
        await self._end(lambda: self._wind_up(within))

    async def stop(self) -> None:
        """Take no more, and give back at once what is held; as safe as `drain`."""
        await self.drain(0.0)

    def serve(self, *, old: bool) -> None:
        """Take all tasks that this worker was made for; where its versions are `old` ones, none but those that they
        began. Belongs to the event loop."""
        hello = only_begun(self._made) if old else self._made
        if not self._leaving and hello != self.hello:
            self.hello = hello
            self._loops.append(self._group.create_task(self._pull_once()))  # in place of the one that is parked

    def held(self) -> tuple[Held, ...]:
        """The claims whose end is not durable yet."""
        return self._calls.look().held

    # what the ledger says

    def obey(self, call: int, orders: Orders) -> None:
        """Begin the claims of an answered call, unless they came before, tell runs their news, and interrupt what is
        to be canceled."""
        now = self._pace.clock()
        fresh = {held_as(claim): claim for claim in orders.claims}
        fresh = {held: claim for held, claim in fresh.items() if self._is_new(held)}
        asked = self._calls.end(call, {held: now + limit(claim)[0] for held, claim in fresh.items()})
        for held, claim in fresh.items():
            self._take(held, claim, asked)
        for held, news in orders.news:
            if held in self._attempts:
                self._attempts[held].hear(news)
        for held in orders.cancels:
            self._interrupt(held, Why.CANCEL)
        if orders.stop:
            self._leave(None)

    def settled(self, held: list[Held]) -> None:
        """The verdicts of these claims are durable."""
        self._calls.drop(held)
        for claim in held:
            self._attempts.pop(claim, None)
        self._look_for_end()

    def lose(self, held: Held) -> None:
        """The claim is somebody else's, or nobody's: its run ends, and nothing more is said of it."""
        self._interrupt(held, Why.LOST)
        self.settled([held])

    def _heard(self, sent: float, picture: Picture, beat: Beat) -> None:
        for held in picture.held:
            if held in self._attempts and held not in beat.unsure:
                self._attempts[held].lease.renew(sent)
        for held in beat.lost:
            self.lose(held)
        for held in beat.cancels:
            self._interrupt(held, Why.CANCEL)

    def _is_new(self, held: Held) -> bool:
        if held in self._seen:
            return False
        self._seen[held] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return True

    def _take(self, held: Held, claim: Claim, asked: float) -> None:
        lease = Lease(self._pace.clock, asked)
        agent = self._agents.get(claim.task.agent)
        attempt = self._attempts[held] = Attempt(claim, agent, self._reporter.open(held), lease, self._tools)
        if self._leaving:
            attempt.settle(Verdict(Ending.RELEASED))
            return
        run = attempt.begin()
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    def _interrupt(self, held: Held, why: Why) -> None:
        attempt = self._attempts.get(held)
        if attempt is not None:
            attempt.interrupt(why)

    # the loops

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._loops = [group.create_task(self._reporter.run()), group.create_task(self._keep_pulling())]
            await self._done.wait()
            for loop in self._loops:
                loop.cancel()

    async def _keep_pulling(self) -> None:
        """One pull after the other, until the ledger knows this worker no more."""
        pauses = self._pace.pauses()
        while True:
            try:
                orders = await self._pull()
            except Unavailable:
                await asyncio.sleep(next(pauses))
                continue
            pauses = self._pace.pauses()
            if orders.stop:
                return
            if orders.claims:  # the quick ones end in the next turn: what they report leaves together with the pull
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    async def _pull(self) -> Orders:
        call = self._calls.begin()
        try:
            orders = await self._link.pull(self.hello, call)
        except Unavailable:
            self._calls.end(call)
            raise
        self.obey(call, orders)
        return orders

    # leaving

    async def _end(self, leave: Callable[[], None]) -> None:
        with self._gate:
            if self._loop is None and not self._ended.done():
                self._ended.set_result(None)
        if self._loop is not None:
            with suppress(RuntimeError):  # a loop that is closed has nothing left to drain
                self._loop.call_soon_threadsafe(leave)
        await asyncio.shield(asyncio.wrap_future(self._ended))

    def _wind_up(self, within: float) -> None:
        self._leave(None)
        for attempt in list(self._attempts.values()):
            attempt.wind_up()
        parting = min(self._pace.parting, within / 2)
        ends = asyncio.get_running_loop().time() + within - parting
        if ends < self._parts:  # half of the time is for runs that do not unwind; the other, for the ledger to know
            self._parts = ends
            self._later(within - parting, lambda: self._give_back(parting / 2))

    def _leave(self, within: float | None) -> None:
        """Take no more. The pull that is parked still has slots in it: a newer one, without, takes its place."""
        if self._done.is_set():
            return
        if not self._leaving:
            self._leaving = True
            self.hello = self.hello._replace(slots={})
            self._loops.append(self._group.create_task(self._pull_once()))
        if within is not None:
            self._later(within, self._give_back)
        self._look_for_end()

    async def _pull_once(self) -> None:
        with suppress(Unavailable):
            await self._pull()

    def _give_back(self, grace: float | None = None) -> None:
        for attempt in list(self._attempts.values()):
            attempt.interrupt(Why.STOP, grace)

    def _look_for_end(self) -> None:
        """End a worker that leaves once everything it held is durable, or cannot be told for too long."""
        if not self._leaving:
            return
        if not self._attempts:
            self._done.set()
        elif not self._flushing and all(attempt.line.shut for attempt in self._attempts.values()):
            self._flushing = True
            self._later(self._pace.flush, self._done.set)

    def _poisoned_by(self, attempt: Attempt) -> None:
        """Code of this run goes on whatever we do: no new work beside it, and the process ends after its neighbours."""
        log.error("task %s does not unwind: this worker ends after its other runs", attempt.claim.task.id)
        self._poisoned = True
        self._leave(None)

    async def _abandon(self) -> None:
        """Leave no run behind: cancel those that nobody waits for any more (`run` was cancelled, or a claim was lost
        just now), and die where one does not end."""
        try:
            for attempt in list(self._attempts.values()):
                attempt.interrupt(Why.LOST)
            if self._runs and not self._poisoned:
                await asyncio.wait(self._runs, timeout=self._pace.grace)
            if self._runs or self._poisoned:
                self._die()
        finally:
            self._ended.set_result(None)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)


def only_begun(hello: Hello) -> Hello:
    """The same worker, for nothing but the tasks that its own versions began."""
    lines = {agent: of_versions(hello.lines_of(agent)) for agent in hello.versions}
    return hello._replace(slots={agent: hello.slots[agent] for agent in lines if agent in hello.slots}, lines=lines)


def _stores(url: str) -> Callable[[str], ArtifactStore]:
    @lru_cache(maxsize=1024)
    def store(tenant: str) -> ArtifactStore:
        return artifact_store(url, tenant)

    return store
