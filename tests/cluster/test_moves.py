"""What waits for its tick, and when the ledger looks though nothing does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from cluster.moves import Moves

Run = Callable[[Coroutine[Any, Any, None]], None]


async def is_woken_at(moves: Moves, ends: float) -> None:
    while (left := ends - time.monotonic()) > 0:
        await asyncio.wait_for(moves.wait(lambda: left), 1)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_every_alarm_goes_off_whatever_fractions_the_loops_clock_knows(run: Run) -> None:
    async def wait() -> None:
        moves = Moves()
        for number in range(60):
            await is_woken_at(moves, time.monotonic() + 0.001 + number * 0.000_137)

    run(wait())


async def test_an_earlier_alarm_goes_off_before_one_that_was_set() -> None:
    moves = Moves()
    first = asyncio.create_task(moves.wait(lambda: 30.0))
    await asyncio.sleep(0)
    moves.woken.set()
    await first

    await asyncio.wait_for(moves.wait(lambda: 0.001), 5)
