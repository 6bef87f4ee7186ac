"""A real background: ledger, pool and workers on a Ray cluster of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from pydantic import BaseModel

from agents.catalog import Catalog
from agents.ids import new_id
from cluster.actors import HEAD, LedgerPlan, Place, start_ledger, start_pool
from cluster.errors import Unavailable
from cluster.fleet import PoolPlan
from cluster.kinds import kinds
from cluster.remote import POOL, Remote, RemoteLedger
from cluster.situation import Rules
from cluster.stores import store_at
from cluster.task import Submission, Task

PATIENCE = 60.0


@dataclass
class Background:
    """What a fault test works with."""

    folder: Path
    ledger: RemoteLedger

    async def submit(self, agent: str, *inputs: BaseModel, max_attempts: int = 2, seconds: float = 30) -> list[str]:
        """Accept one task for each input, together; their ids."""
        now = time.time()
        tasks = tuple(
            Task("", new_id(), agent, "v", one.model_dump_json(), 0, "[]", None, max_attempts, seconds, now)
            for one in inputs
        )
        accepted = await self.ledger.submit(Submission("", "/v1/tasks", tasks))
        return list(accepted.task_ids)

    async def ended(self, ids: list[str]) -> list[Task]:
        """The tasks, once each of them has ended."""
        return [await self._ended(id) for id in ids]

    async def _ended(self, id: str) -> Task:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            with suppress(Unavailable):
                task = await self.ledger.task("", id, wait=5)
                assert task is not None, f"accepted task {id} is lost"
                if task.ended:
                    return task
        raise AssertionError(f"task {id} has not ended: {await self.ledger.task('', id)}")

    async def until_ready(self, workers: int, patience: float = PATIENCE) -> list[str]:
        """The ids of the pool's workers, once there are so many."""
        ends = time.monotonic() + patience
        while time.monotonic() < ends:
            with suppress(Unavailable):
                ready = [id for kind in await Remote(POOL).call("describe") for id in kind["workers"]]
                if len(ready) >= workers:
                    return ready
            await asyncio.sleep(0.1)
        raise AssertionError(f"the pool has not {workers} workers: {await Remote(POOL).call('describe')}")

    async def kill_worker(self, id: str) -> None:
        """SIGKILL the process of a worker."""
        os.kill(await self.pid_of(id), signal.SIGKILL)

    async def pid_of(self, worker: str) -> int:
        """The process of a worker."""
        names = [found["name"] for found in ray.util.list_named_actors(all_namespaces=True)]
        name = next(name for name in names if name.endswith(worker))
        pid: int = await ray.get_actor(name, namespace="rubato").pid.remote()
        return pid

    async def kill(self, name: str) -> int:
        """SIGKILL the process of the ledger or the pool."""
        pid: int = await Remote(name).call("pid", patience=PATIENCE)
        os.kill(pid, signal.SIGKILL)
        return pid

    async def pids(self) -> list[int]:
        """The processes of the workers that are ready."""
        ready = await self.until_ready(1)
        names = [found["name"] for found in ray.util.list_named_actors(all_namespaces=True)]
        handles = [ray.get_actor(name, namespace="rubato") for name in names if name.rpartition(":")[2] in ready]
        return [await handle.pid.remote() for handle in handles]


@contextmanager
def background(
    folder: Path,
    references: list[str],
    workers: int = 2,
    *,
    store: str = "",
    place: Place | None = None,
    orphaned_after: float = 12.0,
    rules: Rules | None = None,
) -> Iterator[Background]:
    """Ledger, pool and workers for these agents; the cluster they run on is the caller's. `store`: a URL, '' for a
    file in the folder; `place`: the ledger's, else the head; `rules`: of a pool on nodes that come and go."""
    where = store or str(folder / "ledger.db")
    owner = store_at(where).take(create=True)
    start_ledger(LedgerPlan(where, owner.store_id, owner.generation), place or HEAD)
    bounds, cpus = ((workers, workers), 2.0) if rules is None else ((0, workers), None)
    found = kinds(Catalog.load(references).values(), bounds, cpus)
    places = (str(folder / "artifacts"), str(folder / "logs"))
    start_pool(PoolPlan(tuple(found), *places, rules=rules or Rules(), orphaned_after=orphaned_after))
    yield Background(folder, RemoteLedger())


def traced(path: Path) -> list[tuple[str, int]]:
    """The steps that really ran, as (name of the work, number of the step)."""
    if not path.exists():
        return []
    return [(name, int(number)) for name, number, _ in map(str.split, path.read_text().splitlines())]


def error_of(task: Task) -> dict[str, object]:
    """The task's error."""
    assert task.error is not None, task
    found: dict[str, object] = json.loads(task.error)
    return found
