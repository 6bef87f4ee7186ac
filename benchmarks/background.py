"""Background tasks: from submit to recorded result, through HTTP, the ledger and two workers."""

from __future__ import annotations

import asyncio
import time
from statistics import median, quantiles
from typing import Any

import aiohttp

from .local import Local

TASKS = 20_000
BATCH = 1_000
ONE_BY_ONE = 200
INPUT = {"text": "x" * 300}
CONNECTIONS = 4


async def measure(local: Local, tasks: int = TASKS) -> dict[str, Any]:
    """Throughput of batches, and the time of one task at a time."""
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(local.url, timeout=timeout) as session:
        await _batches(session, 2 * BATCH)  # warm
        runs = [await _batches(session, tasks) for _ in range(3)]
        best = sorted(runs, key=lambda run: run["tasks_per_s"])[len(runs) // 2]
        return {
            "batches": {**best, "runs_tasks_per_s": [run["tasks_per_s"] for run in runs]},
            "one_at_a_time": await _one_at_a_time(session),
        }


async def _batches(session: aiohttp.ClientSession, tasks: int) -> dict[str, float]:
    """Submit in batches of 1,000 over four connections, and wait until every result is recorded."""
    gate = asyncio.Semaphore(CONNECTIONS)

    async def submit() -> dict[str, Any]:
        async with gate, session.post("/v1/tasks/batch", json={"agent": "echo", "inputs": [INPUT] * BATCH}) as answer:
            answer.raise_for_status()
            return await answer.json()  # type: ignore[no-any-return]

    began = time.perf_counter()
    batches = await asyncio.gather(*(submit() for _ in range(tasks // BATCH)))
    submitted = time.perf_counter()
    for batch in batches:
        await _until_ended(session, batch)
    ended = time.perf_counter()
    return {
        "tasks": tasks,
        "accepted_per_s": round(tasks / (submitted - began)),
        "tasks_per_s": round(tasks / (ended - began)),
        "seconds": round(ended - began, 3),
    }


async def _until_ended(session: aiohttp.ClientSession, batch: dict[str, Any]) -> None:
    """Follow the last task, then look that no other is behind, and that all ended well."""
    async with session.get(f"/v1/tasks/{batch['task_ids'][-1]}", headers={"Prefer": "wait=120"}) as answer:
        answer.raise_for_status()
    for state in ("queued", "running"):
        while await _any(session, batch["batch_id"], state):
            await asyncio.sleep(0.05)
    for state in ("failed", "canceled"):
        if await _any(session, batch["batch_id"], state):
            raise RuntimeError(f"a task of batch {batch['batch_id']} has {state}")


async def _any(session: aiohttp.ClientSession, batch_id: str, state: str) -> bool:
    query = {"batch_id": batch_id, "state": state, "limit": "1"}
    async with session.get("/v1/tasks", params=query) as answer:
        answer.raise_for_status()
        return bool((await answer.json())["items"])


async def _one_at_a_time(session: aiohttp.ClientSession) -> dict[str, float]:
    body = {"agent": "echo", "input": INPUT}
    times = []
    for _ in range(ONE_BY_ONE + 20):
        began = time.perf_counter()
        async with session.post("/v1/tasks", json=body, headers={"Prefer": "wait=30"}) as answer:
            task = await answer.json()
            if answer.status != 200 or task["state"] != "completed":
                raise RuntimeError(f"{answer.status}: {task}")
        times.append(time.perf_counter() - began)
    times = times[20:]
    return {"p50_ms": round(median(times) * 1000, 2), "p99_ms": round(quantiles(times, n=100)[98] * 1000, 2)}
