"""An event loop in virtual time: a seed draws which callback is next, and processes can be killed or stopped.

Nothing sleeps for real and no thread is started, so that a schedule takes milliseconds, and equal seeds give equal
schedules. A process is everything that was started in its context. One that is killed runs no line more, not even a
`finally`, as after SIGKILL; one that is stopped goes on later with what it had in hand, as after SIGSTOP and SIGCONT.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, cast

T = TypeVar("T")
STEP = 1e-5  # seconds that pass while a callback runs
MOST_STEPS = 60_000  # a schedule that takes more goes round in a circle


class Stuck(AssertionError):
    """Nothing is ready and nothing ever will be, or there is no end to it."""


class Process:
    """What dies and stops together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.steps = 0
        self.dies_at = -1  # after so many of its steps, for tests that kill it at each of them
        self.on_death: Callable[[], None] = lambda: None
        self.parked: list[events.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []  # kept, so that none is taken apart before the schedule ends

    def __repr__(self) -> str:
        return self.name


_process: ContextVar[Process] = ContextVar("process")


class Loop:
    """Runs one schedule. `fair`: callbacks run in the order in which they became ready, as asyncio has it.

    It has what asyncio's futures, tasks and timeouts ask of a loop, and nothing of sockets, threads and signals. The
    private attributes of asyncio that it uses are those by which asyncio's own loops run a callback and are the one
    that runs, and nothing public does that, or tells a handle's context, or quiets a task that is taken apart.
    """

    def __init__(self, roll: Random, *, fair: bool) -> None:
        self.steps = 0
        self.faults: list[str] = []  # whatever a callback raised
        self.before_step: Callable[[int], None] = lambda step: None
        self._roll = roll
        self._fair = fair
        self._now = 0.0
        self._ready: list[events.Handle] = []
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._entries = itertools.count()
        self._processes: list[Process] = []
        self._shell = Process("shell")  # what belongs to no process
        self._self = cast(asyncio.AbstractEventLoop, self)

    # processes

    def process(self, name: str) -> Process:
        """A new one, which does nothing yet."""
        process = Process(name)
        self._processes.append(process)
        return process

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run this in the process, and whatever it starts too."""
        context = copy_context()
        context.run(_process.set, process)
        return self.create_task(work, context=context)

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        if process.alive:
            process.alive = False
            process.parked.clear()
            process.on_death()

    def stop_process(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True

    def continue_process(self, process: Process) -> None:
        """SIGCONT."""
        process.stopped = False
        self._ready += process.parked
        process.parked = []

    # the loop

    def run_until_complete(self, future: Any) -> Any:
        """Run one schedule: until this coroutine ends. Raises Stuck."""
        previous = events._get_running_loop()
        events._set_running_loop(self._self)
        try:
            task = self.spawn(self._shell, future)
            while not task.done():
                self._step()
            return task.result()
        finally:
            self._take_apart()
            events._set_running_loop(previous)

    def _step(self) -> None:
        if self.steps > MOST_STEPS:
            raise Stuck("there is no end to it")
        self.before_step(self.steps)
        self._ring()
        place = 0 if self._fair or len(self._ready) == 1 else self._roll.randrange(len(self._ready))
        handle = self._ready.pop(place)
        process = handle._context.get(_process, self._shell)  # type: ignore[attr-defined]  # typeshed leaves it out
        if process.stopped:
            process.parked.append(handle)
        elif process.alive and not handle.cancelled():
            self.steps += 1
            process.steps += 1
            self._now += STEP
            if process.steps == process.dies_at:
                self.kill(process)
            else:
                handle._run()

    def _ring(self) -> None:
        """Make ready what is due; where nothing is ready, time jumps to the next timer."""
        timers = self._timers
        if not self._ready:
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise Stuck("nothing will ever happen again")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def _take_apart(self) -> None:
        """Close what was left in the middle, without a word about it."""
        self._ready.clear()
        self._timers.clear()
        for process in [self._shell, *self._processes]:
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # likewise
                    with suppress(BaseException):
                        cast(Coroutine[Any, Any, Any], task.get_coro()).close()
                elif not task.cancelled():
                    task.exception()
            process.tasks.clear()

    # what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> events.Handle:
        handle = events.Handle(callback, args, self._self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> events.TimerHandle:
        handle = events.TimerHandle(when, callback, args, self._self, context)
        heapq.heappush(self._timers, (when, next(self._entries), handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> events.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self._self, name=name, context=context)
        (copy_context() if context is None else context).get(_process, self._shell).tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """No thread: it runs a little later, and is heard of later still."""
        done = self.create_future()

        def run() -> None:
            try:
                outcome = func(*args)
            except BaseException as error:  # noqa: BLE001 - as an executor, to whoever waits
                self.call_soon(_give, done, None, error)
            else:
                self.call_soon(_give, done, outcome, None)

        self.call_soon(run)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Exception) and "handle" in context:
            self.faults.append(f"{context['message']}: {context['exception']!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def set_default_executor(self, executor: Any) -> None:
        return

    def _timer_handle_cancelled(self, handle: Any) -> None:
        return


def _give(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
