"""The sign of life of a worker, from a thread of its own: busy code does not silence it, a stuck loop is noticed."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from threading import Event, Thread

from .calls import Calls
from .claims import Beat, Picture, WorkerLink
from .errors import Superseded, Unavailable
from .pace import Pace

log = logging.getLogger("rubato.worker")

Heard = Callable[[float, Picture, Beat], None]


class Heartbeat:
    """Every beat it lists what is held, and hands the answer to the loop, with the moment the beat was sent.

    It also watches the loop: code that never awaits (`while True` in an async run) holds up every other run and the
    timers that would end it. Once the loop has not moved past the timeout of a run it holds, plus the grace, or has
    ended by itself, `die` is called. Nothing is reported then, nothing can be: the ledger sees the process die, runs
    its tasks again one at a time, and counts an attempt only where the same happens to a task that is alone.
    """

    def __init__(
        self, worker: str, link: WorkerLink, calls: Calls, heard: Heard, die: Callable[[], None], pace: Pace
    ) -> None:
        self._worker = worker
        self._link = link
        self._calls = calls
        self._heard = heard
        self._die = die
        self._pace = pace
        self._stopped = Event()
        self._moved = math.inf  # when the loop was last seen to move
        self._asked = False  # for a sign that has not come

    def start(self) -> None:
        """Beat until stopped; to be called on the loop that is watched."""
        self._loop = asyncio.get_running_loop()
        self._moved = self._pace.clock()
        Thread(target=self._run, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Beat no more, and call nobody."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._pace.beat):
            try:
                if self._is_stuck():
                    log.critical("the event loop of worker %s is stuck", self._worker)
                    self._die()
                    return
                self.beat()
            except Exception:  # whatever it was, a worker without heartbeat would lose all that it holds
                log.exception("a heartbeat of worker %s failed", self._worker)

    def beat(self) -> None:
        """One beat; blocks for as long as the ledger takes to answer."""
        picture = self._calls.look()
        sent = self._pace.clock()
        try:
            beat = self._link.beat(self._worker, picture)
        except Superseded:  # whoever has the store lets others go on with what is held here
            beat = Beat(picture.held)
        except Unavailable:
            return
        self._calls.hear(beat.book)
        if not self._stopped.is_set():
            self._loop.call_soon_threadsafe(self._heard, sent, picture, beat)

    def _is_stuck(self) -> bool:
        """Whether the loop has slept through the end of a run; and ask it for a sign until the next time."""
        if self._stopped.is_set():
            return False
        if not self._loop.is_running():
            return True
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._answer)
            return False
        overdue = self._pace.clock() - self._pace.grace
        return any(self._moved < end < overdue for end in self._calls.ends())

    def _answer(self) -> None:
        self._moved = self._pace.clock()
        self._asked = False
