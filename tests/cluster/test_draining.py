"""Whoever is on a node that is about to go learns it from the pool; and without it, too."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from cluster.draining import Lookout, Notices
from cluster.errors import Unavailable
from tests.raycluster import ROOT

from .making import ManualClock


class Sky:
    """What there is to see, and how often somebody looked."""

    def __init__(self) -> None:
        self.draining: Mapping[str, float] = {}
        self.looks = 0
        self.dark = False

    async def look(self) -> Mapping[str, float]:
        self.looks += 1
        if self.dark:
            raise ConnectionError("GCS is away")
        return self.draining


class Pool:
    """One that knows what the notices say, and may be away."""

    def __init__(self, notices: Notices) -> None:
        self.notices = notices
        self.away = asyncio.Event()
        self.back = asyncio.Event()
        self.questions = 0

    async def notice(self, node: str, wait: float) -> float | None:
        self.questions += 1
        asked, gone = asyncio.ensure_future(self.notices.notice(node, wait)), asyncio.ensure_future(self.away.wait())
        await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
        if self.away.is_set():
            asked.cancel()
            raise Unavailable("it died")
        gone.cancel()
        return asked.result()

    async def there(self) -> None:
        await self.back.wait()


@asynccontextmanager
async def looking(sky: Sky, clock: ManualClock | None = None) -> AsyncIterator[Notices]:
    still = clock or ManualClock()
    notices = Notices(sky.look, 0.001, lambda: still.time)
    running = asyncio.create_task(notices.run())
    yield notices
    running.cancel()
    await asyncio.wait([running])


async def soon(task: asyncio.Future[float | None] | asyncio.Task[float]) -> float | None:
    return await asyncio.wait_for(task, 5)


async def test_all_who_ask_are_told_and_somebody_looked_once_for_all() -> None:
    sky, clock = Sky(), ManualClock()
    async with looking(sky, clock) as notices:
        asked = [asyncio.ensure_future(notices.notice("a", 60)) for _ in range(50)]
        other = asyncio.ensure_future(notices.notice("b", 60))
        await asyncio.sleep(0.01)
        looks = sky.looks
        sky.draining = {"a": 30.0}

        assert await asyncio.wait_for(asyncio.gather(*asked), 5) == [30.0] * 50
        assert sky.looks - looks < 50, "nobody looked for each"
        assert not other.done()
        sky.draining = {"a": 30.0, "b": math.inf}
        assert await soon(other) == math.inf
        assert notices.draining() == {"a": 30.0, "b": math.inf}


async def test_the_time_that_is_left_goes_by() -> None:
    sky, clock = Sky(), ManualClock()
    sky.draining = {"a": 30.0}
    async with looking(sky, clock) as notices:
        assert await notices.notice("a", 5) == 30.0
        sky.dark = True
        await asyncio.sleep(0.01)
        clock.advance(20)
        assert await notices.notice("a", 5) == 10.0
        clock.advance(20)
        assert await notices.notice("a", 5) == 0.0


async def test_a_question_ends_though_nothing_happens() -> None:
    async with looking(Sky()) as notices:
        assert await notices.notice("a", 0.01) is None


async def test_while_nobody_says_anything_the_pool_goes_on_looking() -> None:
    sky = Sky()
    sky.dark = True
    async with looking(sky) as notices:
        asked = asyncio.ensure_future(notices.notice("a", 60))
        await asyncio.sleep(0.01)
        sky.dark, sky.draining = False, {"a": 5.0}
        assert await soon(asked) == 5.0


async def test_a_worker_asks_the_pool_and_does_not_look_itself() -> None:
    sky, own = Sky(), Sky()
    async with looking(sky) as notices:
        noticed = asyncio.ensure_future(Lookout("a", Pool(notices), own.look, 0.001).noticed())
        await asyncio.sleep(0.01)
        sky.draining = {"a": 5.0}

        assert await soon(noticed) == 5.0
        assert own.looks == 0


async def test_while_the_pool_is_away_a_worker_looks_by_itself() -> None:
    sky, own = Sky(), Sky()
    async with looking(sky) as notices:
        pool = Pool(notices)
        noticed = asyncio.ensure_future(Lookout("a", pool, own.look, 0.001).noticed())
        await asyncio.sleep(0.01)
        pool.away.set()
        await asyncio.sleep(0.01)
        assert own.looks
        own.draining = {"b": 1.0, "a": 7.0}

        assert await soon(noticed) == 7.0


async def test_once_the_pool_is_back_a_worker_asks_it_again() -> None:
    sky, own = Sky(), Sky()
    async with looking(sky) as notices:
        pool = Pool(notices)
        noticed = asyncio.ensure_future(Lookout("a", pool, own.look, 0.001).noticed())
        pool.away.set()
        await asyncio.sleep(0.01)
        questions = pool.questions
        pool.away.clear()
        pool.back.set()
        await asyncio.sleep(0.05)
        looks = own.looks
        sky.draining = {"a": 5.0}

        assert await soon(noticed) == 5.0
        assert (pool.questions, own.looks) == (questions + 1, looks)


async def test_a_worker_is_told_again_when_there_is_less_time() -> None:
    sky, told = Sky(), list[float]()
    sky.draining = {"a": math.inf}
    async with looking(sky) as notices:
        running = asyncio.create_task(Lookout("a", Pool(notices), sky.look, 0.001).run(told.append))
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.001)
            sky.draining = {"a": 9.0}
            while told[-1] != 9.0:
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait([running])

    assert told[0] == math.inf


TOLD = """
import asyncio, signal, threading
from cluster.terminating import on_sigterm

async def main():
    told = asyncio.Event()
    on_sigterm(told.set)
    print("ready", flush=True)
    for number in range(2):
        await told.wait()
        told.clear()
        print("told", number, flush=True)

signal.signal(signal.SIGTERM, lambda *_: print("Ray's own", flush=True))
thread = threading.Thread(target=lambda: asyncio.run(main()))
thread.start()
thread.join()
"""


@pytest.mark.slow
def test_sigterm_is_heard_outside_of_the_main_thread_and_ends_nothing() -> None:
    command = [sys.executable, "-P", "-c", TOLD]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            lines.append(process.stdout.readline())

    assert lines == ["ready\n", "told 0\n", "told 1\n"]
    assert process.returncode == 0
