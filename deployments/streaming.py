"""A live run told as it happens: server-sent events that end with the output or with what went wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from time import monotonic

from starlette.types import Send

from agents.failures import failed_step
from cluster.task import Event

from . import sse
from .events import event_bytes
from .ladder import Rung
from .live import LiveRuns
from .problems import Problem
from .promotion import promoted
from .recording import Queued, Telling
from .runs import Ask, RunBroke
from .told import Told, problem_of_run

AHEAD = 256  # events a run may be ahead of its reader before its emits wait
LINGER = 30.0  # seconds after the deadline that a slow reader gets for what is left

Headers = list[tuple[bytes, bytes]]


async def stream(runs: LiveRuns, ask: Ask, send: Send, headers: Headers) -> Problem | Told | None:
    """Run, and send each event when it happens; the last is `output`, `failed` or `promoted`, and nothing follows it.

    Where there is no room for a run nothing is sent: the problem that says so is returned, or the task that was made of
    the request, which has events of its own.
    """
    head = [(b"content-type", sse.MEDIA_TYPE.encode()), *headers]
    head += [(name.lower().encode(), value.encode()) for name, value in sse.HEADERS.items()]
    queue: asyncio.Queue[Event | None] = asyncio.Queue(AHEAD)
    began = monotonic()
    async with asyncio.timeout(ask.patience + LINGER), asyncio.TaskGroup() as group:
        telling = group.create_task(_fill(queue, runs, ask))
        first = await queue.get()
        if first is None:
            return await telling
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": event_bytes(first), "more_body": True})
        runs.told_first(monotonic() - began)
        await _forward(queue, send)
    return None


async def _fill(queue: asyncio.Queue[Event | None], runs: LiveRuns, ask: Ask) -> Problem | Told | None:
    """Put the run's events there, then None. Returns what came of it where it did not even begin."""
    telling = Queued(queue)
    ended = await tell(runs.answer(ask, telling), telling)
    await queue.put(None)
    return ended


async def tell(answer: Awaitable[Told], telling: Telling) -> Problem | Told | None:
    """Tell what the run came to whose steps and events are told there. Returns it where the run did not even begin."""
    try:
        told = await answer
    except Exception as error:  # noqa: BLE001 - whatever the run ended in is its last event
        problem = problem_of_run(error)
        if not telling.begun:
            return problem
        step = error.step if isinstance(error, RunBroke) else failed_step(error)
        failed = {**json.loads(problem.body()), "step": step, "attempt": 1}
        await telling.end("failed", json.dumps({"error": failed}))
    else:
        if told.rung is Rung.TASK and not telling.begun:
            return told
        telling.open()
        if told.rung is Rung.TASK:
            await telling.end("promoted", promoted(told.reason, told.task_id))
        else:
            await telling.end("output", output_data(told))
    return None


def output_data(told: Told) -> str:
    """`{output}`, and which kind of answer it is where it is not the full one."""
    answer = "" if told.rung is Rung.RUN else f',"answer":"{told.rung.value}"'
    return f'{{"output":{told.output.decode()}{answer}}}'


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
