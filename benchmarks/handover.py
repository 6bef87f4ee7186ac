"""How soon a caller who waits half a second for an agent that takes three has its task."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import chain
from statistics import median, quantiles
from typing import Any

from .callers import callers_until

BODY = '{"text": "hello"}'
AT_ONCE = 50
TIMES = 4  # of each caller
WAIT = 0.5  # seconds


def measure(url: str) -> dict[str, Any]:
    """p50 and p99 of the time to a `202`, with so many requests in flight."""
    callers = asyncio.run(_ask(f"{url}/v1/agents/slow/run", TIMES))
    times = list(chain.from_iterable(caller.times for caller in callers))
    statuses = sum((caller.statuses for caller in callers), Counter[int]())
    if set(statuses) != {202}:
        raise RuntimeError(f"not all were a task: {dict(statuses)}")
    return {
        "in_flight": AT_ONCE,
        "requests": len(times),
        "p50_s": round(median(times), 4),
        "p99_s": round(quantiles(times, n=100)[98], 4),
    }


async def _ask(url: str, times: int) -> Any:
    left = AT_ONCE * times

    def more() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    return await callers_until(url, BODY, AT_ONCE, more, Prefer=f"respond-async, wait={WAIT:g}")
