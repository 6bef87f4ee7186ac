"""A process that holds claims of runs which it had begun before they were tasks: it reports what they reach, and gives
the claims back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from .attempt import Why
from .calls import Calls
from .claims import Beat, Ending, Held, Hello, HolderLink, Orders, Picture, Promotion, Verdict
from .errors import Unavailable
from .heartbeat import Heartbeat
from .pace import Pace
from .promoting import FENCE
from .reports import Line, Reporter
from .task import Task

REPLICA = "replica-"  # how the ids of such processes begin: they are not the pool's

Interrupt = Callable[[Why], None]  # CANCEL: the task is to end; LOST: it is somebody else's


class _Claim(NamedTuple):
    line: Line
    interrupt: Interrupt


class Holder:
    """Fenced like any worker, but never handed a claim. Belongs to the event loop."""

    def __init__(
        self, id: str, link: HolderLink, pace: Pace | None = None, versions: Mapping[str, str] | None = None
    ) -> None:
        """`versions`: of the agents whose tasks are to finish with the version that began them."""
        self.hello = Hello(f"{REPLICA}{id}", "replica", {}, versions=versions or {})
        self._link = link
        self._pace = pace or Pace()
        self._calls = Calls(self._pace.clock)
        self._reporter = Reporter(link, self._calls, self, self._pace)
        self._heartbeat = Heartbeat(self.hello.id, link, self._calls, self._heard, lambda: None, self._pace)
        self._reports: asyncio.Task[None] | None = None
        self._claims: dict[Held, _Claim] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    async def promote(self, promotion: Promotion, interrupt: Interrupt, patience: float) -> tuple[Task, Line | None]:
        """The task, durable; and the line for what else its run reaches, if the claim is this process's.

        Raises Conflict; and Unavailable where it was not confirmed within `patience` seconds: then nothing is held
        here, and should the task exist all the same, the next heartbeats have its claim given back.
        """
        self._start()
        call = self._calls.begin()  # all tries are one call: heartbeats between two do not give its claim away
        try:
            task = await self._confirmed(call, promotion, patience)
        except BaseException:
            self._calls.end(call)
            raise
        return task, self._take(call, task, interrupt)

    async def close(self) -> None:
        """Give back what is held, and return when that is known, or cannot be told for too long."""
        for claim in list(self._claims.values()):
            claim.line.settle(Verdict(Ending.RELEASED))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.flush):
                await self._empty.wait()
        self._heartbeat.stop()
        if self._reports is not None:
            self._reports.cancel()

    def held(self) -> tuple[Held, ...]:
        """The claims whose end is not durable yet."""
        return tuple(self._claims)

    # what the ledger says

    def obey(self, call: int, orders: Orders) -> None:
        self._calls.end(call)
        for held in orders.cancels:
            self._interrupt(held, Why.CANCEL)

    def settled(self, held: list[Held]) -> None:
        self._calls.drop(held)
        for claim in held:
            self._claims.pop(claim, None)
        if not self._claims:
            self._empty.set()

    def lose(self, held: Held) -> None:
        if held in self._claims:
            self._claims[held].line.lose()
            self._interrupt(held, Why.LOST)
        self.settled([held])

    def _heard(self, sent: float, picture: Picture, beat: Beat) -> None:
        for held in beat.lost:
            self.lose(held)
        for held in beat.cancels:
            self._interrupt(held, Why.CANCEL)

    def _interrupt(self, held: Held, why: Why) -> None:
        claim = self._claims.get(held)
        if claim is not None:
            claim.interrupt(why)

    # parts

    async def _confirmed(self, call: int, promotion: Promotion, patience: float) -> Task:
        """The task, asked for until the ledger confirms it. Raises Conflict, and Unavailable."""
        pauses, ends = self._pace.pauses(), self._pace.clock() + patience
        while True:
            try:
                async with asyncio.timeout(max(0.0, ends - self._pace.clock())):
                    return await self._link.promote(self.hello, call, promotion)
            except (Unavailable, TimeoutError) as error:
                pause = next(pauses)
                if self._pace.clock() + pause >= ends:
                    raise Unavailable(f"nobody knows whether the run was promoted: {error}") from error
            await asyncio.sleep(pause)

    def _start(self) -> None:
        """Report and beat from the first promotion on: most replicas never make one."""
        if self._reports is None:
            self._reports = asyncio.get_running_loop().create_task(self._reporter.run())
            self._heartbeat.start()

    def _take(self, call: int, task: Task, interrupt: Interrupt) -> Line | None:
        held = (task.tenant, task.id, FENCE)
        if task.worker != self.hello.id or task.fence != FENCE:
            self._calls.end(call)
            return None
        self._calls.end(call, {held: math.inf})
        line = self._reporter.open(held, 1)
        self._claims[held] = _Claim(line, interrupt)
        self._empty.clear()
        return line
