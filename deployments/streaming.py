"""A live run told as it happens: server-sent events that end with the output or with what went wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Send

from agents.failures import failed_step
from cluster.task import Event

from . import sse
from .events import event_bytes
from .live import LiveRuns, RunBroke, Telling, problem_of_run

AHEAD = 256  # events a run may be ahead of its reader before its emits wait
LINGER = 30.0  # seconds after the deadline that a slow reader gets for what is left

Headers = list[tuple[bytes, bytes]]


async def stream(runs: LiveRuns, task_id: str, given: Any, send: Send, headers: Headers) -> None:
    """Run, and send each event when it happens; the last is `output` or `failed`, and nothing comes after it."""
    head = [(b"content-type", sse.MEDIA_TYPE.encode()), *headers]
    head += [(name.lower().encode(), value.encode()) for name, value in sse.HEADERS.items()]
    queue: asyncio.Queue[Event | None] = asyncio.Queue(AHEAD)
    async with asyncio.timeout(runs.deadline + LINGER), asyncio.TaskGroup() as group:
        await send({"type": "http.response.start", "status": 200, "headers": head})
        group.create_task(_tell(runs, task_id, given, queue))
        await _forward(queue, send)


async def _tell(runs: LiveRuns, task_id: str, given: Any, queue: asyncio.Queue[Event | None]) -> None:
    """Put the run's events on the queue, then None."""
    recorder = Telling(queue.put)
    await recorder.tell("attempt.started")
    try:
        output = await runs.answer(task_id, given, recorder)
    except Exception as error:  # noqa: BLE001 - whatever the run ended in is its last event
        step = error.step if isinstance(error, RunBroke) else failed_step(error)
        failed = {**json.loads(problem_of_run(error).body()), "step": step, "attempt": 1}
        await recorder.end("failed", json.dumps({"error": failed}))
    else:
        await recorder.end("output", f'{{"output":{output}}}')
    await queue.put(None)


async def _forward(queue: asyncio.Queue[Event | None], send: Send) -> None:
    more = True
    while more:
        chunk, more = await _next(queue)
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _next(queue: asyncio.Queue[Event | None]) -> tuple[bytes, bool]:
    """All events that are there, or a heartbeat where none comes in time; and whether more will come."""
    try:
        async with asyncio.timeout(sse.HEARTBEAT):
            waiting = [await queue.get()]
    except TimeoutError:
        return sse.BEAT, True
    while not queue.empty():
        waiting.append(queue.get_nowait())
    events = [event for event in waiting if event is not None]
    return b"".join(map(event_bytes, events)), len(events) == len(waiting)
