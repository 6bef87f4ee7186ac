"""Work that is done in batches: it remembers them, and can be held up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

WHEN_FULL = 60.0  # seconds: no test waits for them


class Work:
    """A function of many items that remembers its batches, and holds each until it may go on."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.ended: list[str] = []
        self.at_work = self.most = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.batches.append(items)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        self.begun.set()
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            self.ended.append("well")
            return [result_of(item) for item in items]
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.at_work -= 1


def result_of(item: Any) -> Any:
    return ValueError(f"not {item}") if isinstance(item, int) and item < 0 else ("result", item)


def started(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.get_running_loop().create_task(call) for call in calls]


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
