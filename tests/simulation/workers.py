"""A simulated worker: it keeps the protocol of cluster.claims to the letter, over a wire that does not."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from cluster.calls import Calls, held_as
from cluster.claims import BEAT, LEASE, MARGIN, Answer, Beat, Claim, Held, Hello, Orders, Picture, Report, Verdict
from cluster.errors import Unavailable
from cluster.lanes import lines_of
from cluster.worker import only_begun

from .runs import Run

if TYPE_CHECKING:
    from .world import Post, World

Sent = tuple[Run, Report, list["asyncio.Future[None] | None"]]


class SimWorker:
    """One process that runs claims."""

    def __init__(self, world: World, id: str, post: Post, slots: dict[str, int]) -> None:
        self.world = world
        self.post = post
        versions = dict.fromkeys(world.finishing, f"v{world.version}")
        market = post.shape.market
        lines = {agent: lines_of(agent, post.shapes, market, versions.get(agent, "")) for agent in slots}
        self.hello = self.made = Hello(id, f"{post.name}.{world.version}", slots, lines, versions)
        self.version = world.version
        self.process = world.loop.process(id)
        self.doubted = False  # others may run what it holds: it was declared lost, or a new generation began
        self._calls = Calls(world.loop.time)
        self._runs: dict[Held, Run] = {}
        self._seen: set[Held] = set()
        self._old: list[Report] = []  # reports that were answered, to be sent once more
        self._waiting: dict[Run, None] = {}
        self._woken = asyncio.Event()
        self.leaving = False

    @property
    def id(self) -> str:
        return self.hello.id

    def start(self) -> None:
        for loop in (self._pull(), self._report(), self._beat()):
            self.world.loop.spawn(self.process, loop)

    def outlive(self) -> None:
        """There is a newer version: take no more than what this one began."""
        if not self.leaving:
            self.hello = only_begun(self.made)

    def leave(self) -> None:
        """Give back what is held, and take no more."""
        self.leaving = True
        self.hello = self.hello._replace(slots={})
        for run in list(self._runs.values()):
            run.interrupt("release")

    # what runs say

    def changed(self, run: Run) -> None:
        """The run has something to report."""
        self._waiting[run] = None
        self._woken.set()

    def settle(self, run: Run, verdict: Verdict) -> None:
        """The end of a run."""
        run.line.verdict = verdict
        run.line.shut = True
        held = held_as(run.claim)
        self.world.oracle.verdicts[held[:2]][held[2]] = verdict
        self.changed(run)

    # what it asks of the ledger

    async def _ask_for_claims(self, call: int) -> Orders:
        hello = self.hello  # as it is now: a call that is slow arrives with what it was sent with
        return await self.world.ask(lambda ledger: ledger.pull(hello, call))

    async def _ask_for_time(self, seen: Picture) -> Beat:
        return await self.world.ask(lambda ledger: ledger.beat(self.id, seen))

    async def _ask_to_settle(self, call: int, reports: tuple[Report, ...]) -> Answer:
        return await self.world.ask(lambda ledger: ledger.report(self.hello, call, reports))

    # the loops

    async def _pull(self) -> None:
        while True:
            call = self._calls.begin()
            try:
                orders = await self._ask_for_claims(call)
            except Unavailable:
                self._calls.end(call)
                await asyncio.sleep(self.world.roll.random())
                continue
            self._obey(call, orders)
            if orders.stop:
                self.world.drain(self)
                return

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            picture, sent = self._calls.look(), self.world.loop.time()
            try:
                beat = await self._ask_for_time(picture)
            except Unavailable:
                continue
            self._calls.hear(beat.book)
            with self.world.oracle.watching():
                self.world.told(self, beat)
            for held in picture.held:
                if held in self._runs and held not in beat.unsure:
                    self._runs[held].lease_ends = max(self._runs[held].lease_ends, sent + LEASE - MARGIN)
            for held in beat.lost:
                self._lose(held)
            self._cancel(beat.cancels)

    async def _report(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while batch := self._collect():
                await self._deliver(batch)

    def _collect(self) -> list[Sent]:
        batch: list[Sent] = []
        for run in list(self._waiting):
            del self._waiting[run]
            line = run.line
            if not line.entries and line.verdict is None:
                continue
            entries, line.entries = line.entries, []
            verdict, line.verdict = line.verdict, None
            line.number += 1
            report = Report(*held_as(run.claim), line.number, tuple(entry for entry, _ in entries), verdict)
            batch.append((run, report, [done for _, done in entries]))
        return batch

    async def _deliver(self, batch: list[Sent]) -> None:
        """Sends until it is answered; what was answered before is now and then sent once more."""
        roll = self.world.roll
        again = [roll.choice(self._old)] if self._old and roll.random() < 0.1 and not self.world.quiet else []
        while batch := [sent for sent in batch if held_as(sent[0].claim) in self._runs]:
            call = self._calls.begin()
            reports = (*again, *(report for _, report, _ in batch))
            try:
                answer = await self._ask_to_settle(call, reports)
            except Unavailable:
                self._calls.end(call)
                await asyncio.sleep(roll.random())
                continue
            for run, report, waiting in batch:
                self._reported(run, report, waiting, lost=held_as(run.claim) in answer.lost)
            self._obey(call, answer.orders)
            return

    def _reported(self, run: Run, report: Report, waiting: list[asyncio.Future[None] | None], *, lost: bool) -> None:
        held = held_as(run.claim)
        if lost:
            self._lose(held)
            return
        with self.world.oracle.watching():
            self.world.recorded(report)
        self._old.append(report)
        for done in waiting:
            if done is not None and not done.done():
                done.set_result(None)
        if report.verdict is not None:
            self._calls.drop([held])
            self._runs.pop(held, None)

    def _obey(self, call: int, orders: Orders) -> None:
        now = self.world.loop.time()
        fresh = {held_as(claim): claim for claim in orders.claims if held_as(claim) not in self._seen}
        self._seen |= fresh.keys()
        asked = self._calls.end(call, dict.fromkeys(fresh, now))
        for held, claim in fresh.items():
            self._take(held, claim, asked)
        self._cancel(orders.cancels)
        for held, news in orders.news:
            if held in self._runs:
                self._runs[held].hear(news)

    def _take(self, held: Held, claim: Claim, asked: float) -> None:
        with self.world.oracle.watching():
            self.world.got(self, claim)
        run = self._runs[held] = Run(self, claim)
        run.lease_ends = asked + LEASE - MARGIN
        if self.leaving:
            run.interrupt("release")
        asyncio.create_task(run.run())  # noqa: RUF006 - the process keeps it

    def _cancel(self, cancels: tuple[Held, ...]) -> None:
        for held in cancels:
            if held in self._runs:
                self._runs[held].interrupt("cancel")

    def _lose(self, held: Held) -> None:
        self._calls.drop([held])
        run = self._runs.pop(held, None)
        if run is not None:
            run.lease_ends = -math.inf  # whatever this heartbeat renewed: its run may look before it is interrupted
            run.interrupt("lost")
