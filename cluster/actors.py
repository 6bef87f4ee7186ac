"""Ray's edge: the ledger and the pool as detached actors, each a line around a plain class."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agents.shelves import shelves_at

from . import ledger, pool, tasklog
from .collecting import collect_rarely
from .door import Door, Doorway
from .draining import Notices
from .errors import Fenced, Superseded, Unavailable
from .fleet import START_SECONDS, PoolPlan, RayFleet, die, look
from .places import on_server
from .remote import LEDGER, METHODS, NAMESPACE, POOL, Answering, Remote, RemoteLedger
from .retention import Retention
from .schedule import Policy
from .stores import store_at
from .terms import Terms

log = logging.getLogger("rubato.actors")

Place = Mapping[str, Any]  # options of an actor that say where it runs

HEAD: Place = {"resources": {HEAD_NODE_RESOURCE_NAME: 0.001}}
"""The node that no spot market takes away. It is asked for as a resource: an actor that needs none Ray puts on a random
node, even where it prefers one, and starts again by way of a random node, which may be one that is dead already."""

OPEN_SECONDS = 5.0  # that a call waits for the ledger's store to be opened
HANG_UP = 1.0  # seconds after which a ledger that was fenced ends its connections: its last answers have left by then
SWITCH = 0.00005  # seconds after which the loop lets a thread that commits go on, which needs it a few times a tick
POLL = 0.02  # seconds between two looks whether an actor is gone
RETRY_SECONDS = 3.0  # after which a ledger or a pool that cannot go on ends, for its next life to try


class LedgerPlan(NamedTuple):
    """Which store a ledger opens, and as whom."""

    where: str
    store_id: str
    generation: int
    policies: tuple[tuple[str, Policy], ...] = ()  # of the agents that are served, by name
    retention: Retention = Retention()
    artifacts_url: str = ""  # '': artifacts are none of its business
    keeps: bool = False  # the claims of the generation before: its workers go on

    @property
    def terms(self) -> Terms:
        shelves = partial(shelves_at, self.artifacts_url) if self.artifacts_url else None
        return Terms(dict(self.policies), self.retention, shelves, self.store_id, on_server(self.where))


class Ledger(Answering):
    """The ledger as an actor: it opens its store, and resumes its own generation after every restart.

    It has a ledger and is none: Ray wraps each method of an actor, those that it calls itself among them.
    """

    def __init__(self, plan: LedgerPlan) -> None:
        self._plan = plan
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._trouble = "its store is not open yet"
        self._superseded = False
        self._store = store_at(plan.where)
        self._ledger: ledger.Ledger | None = None  # as long as its store was not opened
        collect_rarely()
        sys.setswitchinterval(SWITCH)
        self._doorway = Doorway({})
        self._door: Door | None = None
        self._handing_over = False
        self._running = asyncio.get_running_loop().create_task(self._live())

    async def ask(self, packed: bytes) -> bytes:
        """As Answering does it, once the store is open; refused where that takes long, or failed."""
        if self._handing_over:
            await asyncio.Event().wait()  # until this process ends: then the next ledger is asked
        if not self._opened.done():
            await asyncio.wait([self._opened], timeout=OPEN_SECONDS)
        if not self._opened.done() or self._running.done():
            refusal = Superseded if self._superseded else Unavailable
            return self.refusal(refusal(f"the ledger is not there: {self._trouble}"))
        return await super().ask(packed)

    def found(self, method: str) -> Any:
        return getattr(self._ledger if method in METHODS else self, method)

    async def door(self) -> Door | None:
        """Where whoever may call this actor may call it without Ray; None where it must not or cannot be."""
        await asyncio.shield(self._opened)
        return self._door

    async def pid(self) -> int:
        """The process that holds the store. Raises what kept it from opening the store."""
        await asyncio.shield(self._opened)
        if self._running.done():
            self._running.result()
        return os.getpid()

    async def hand_over(self) -> None:
        """End with the tick under way and close the store, for another ledger to open it. Whoever asks this one from
        now on waits until its process ends, and then asks that one."""
        await asyncio.shield(self._opened)
        self._handing_over = True
        self._door = None
        self._doorway.close()
        if self._ledger is not None:
            self._ledger.stop()
        await asyncio.wait([self._running])
        await self._store.close()

    async def _live(self) -> None:
        """Whatever ends it but a newer owner ends this process too, a little later: its next life tries again."""
        try:
            owner = await self._store.open(self._plan.store_id, self._plan.generation)
            fresh = owner.tick == 0 and not self._plan.keeps
            self._ledger = ledger.Ledger(self._store, fresh=fresh, terms=self._plan.terms)
            self._doorway.calls = {name: getattr(self._ledger, name) for name in METHODS}
            self._door = await _open_door(self._doorway)
            self._opened.set_result(None)
            await self._ledger.run()
            if not self._handing_over:
                self._leave_to_another()
        except Exception as error:
            self._trouble = str(error)
            log.exception("the ledger cannot go on")
            self._superseded = isinstance(error, Fenced)
            if not self._superseded:
                asyncio.get_running_loop().call_later(RETRY_SECONDS, die)
            raise
        finally:
            if not self._opened.done():
                asyncio.get_running_loop().call_soon(self._opened.set_result, None)  # once this task has ended

    def _leave_to_another(self) -> None:
        """Fenced: whoever is connected asks again where the ledger is, for the next one goes by the same name."""
        self._trouble = "another one has taken its store"
        self._superseded = True
        self._door = None
        asyncio.get_running_loop().call_later(HANG_UP, self._doorway.close)


async def _open_door(doorway: Doorway) -> Door | None:
    """On this node's own address as Ray has it, which is loopback where Ray listens on loopback only."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return None  # what Ray would encrypt must not travel in the clear
    try:
        return await doorway.open(ray.util.get_node_ip_address())
    except OSError as error:
        log.warning("no way in but Ray's: %s", error)
        return None


class Pool(pool.Pool, Answering):
    """The pool as an actor; its workers are detached, so they outlive it, and its next life adopts them."""

    def __init__(self, plan: PoolPlan) -> None:
        self._plan = plan
        self._notices = Notices(look)
        super().__init__(plan.kinds, RayFleet(plan, self._notices), RemoteLedger(), plan.rules)
        loop = asyncio.get_running_loop()
        self._looking = loop.create_task(self._notices.run())
        self._running = loop.create_task(self._live())

    async def notice(self, node: str, wait: float) -> float | None:
        """In how many seconds the node goes, as soon as that is known; None if it is not after so long."""
        return await self._notices.notice(node, wait)

    async def describe(self) -> list[dict[str, object]]:
        """The pool's status."""
        return self.status()

    async def ground(self) -> list[dict[str, object]]:
        """The kinds of nodes that the pool knows."""
        return self.nodes()

    async def pid(self) -> int:
        """The pool's process."""
        return os.getpid()

    async def _live(self) -> None:
        """What ends the keeping of workers ends this process too, a little later: its next life adopts them."""
        try:
            await self.run()
        except Exception:
            log.exception("the pool cannot go on")
            asyncio.get_running_loop().call_later(RETRY_SECONDS, die)

    async def logs(self, tenant: str, task_id: str) -> list[tasklog.LogLine]:
        """What a task's code logged, on whichever node it ran."""
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        lines = [
            _read_log.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                self._plan.log_folder, tenant, task_id
            )
            for node in nodes
        ]
        found = await asyncio.gather(*lines, return_exceptions=True)
        return sorted({line for lines in found if not isinstance(lines, BaseException) for line in lines})


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _read_log(folder: str, tenant: str, task_id: str) -> list[tasklog.LogLine]:
    return tasklog.read(Path(folder), tenant, task_id)


def head_as(node_id: str) -> Place:
    """The head, as long as it is this node: where what lies on its disk is needed."""
    return {**HEAD, "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)}


def start_ledger(plan: LedgerPlan, place: Place) -> None:
    """Start the ledger there, and wait until it answers.

    Raises StoreProblem or Fenced where it may not open the store.
    """
    _start(ray.remote(Ledger), LEDGER, plan, place, max_concurrency=10_000)


def replace_ledger(take: Callable[[], LedgerPlan], place: Place) -> None:
    """Have another ledger go on where the one that runs ends: `take` says which, once the store is free to be taken.

    Whoever asks meanwhile waits for the new one, which starts with the code that lies there now. Raises as
    `start_ledger` does.
    """
    with suppress(ValueError, RayActorError):  # there is none: it is no more than a start
        old = ray.get_actor(LEDGER, namespace=NAMESPACE)
        ray.get(old.hand_over.remote(), timeout=START_SECONDS)
    _end(LEDGER)
    start_ledger(take()._replace(keeps=True), place)


def replace_pool(plan: PoolPlan) -> None:
    """Have another pool go on, which adopts the workers of the one that runs."""
    _end(POOL)
    start_pool(plan)


def _end(name: str) -> None:
    """Kill the actor, and return once its name is free."""
    with suppress(ValueError):
        while True:
            ray.kill(ray.get_actor(name, namespace=NAMESPACE))
            time.sleep(POLL)


def start_pool(plan: PoolPlan) -> None:
    """Start the pool, which starts its workers by itself."""
    env = {"runtime_env": {"py_modules": list(plan.modules)}} if plan.modules else {}  # workers have it from the pool
    _start(ray.remote(Pool), POOL, plan, {**HEAD, **env}, max_concurrency=10_000)  # each has a question open


def _start(actor: Any, name: str, plan: NamedTuple, place: Place, max_concurrency: int) -> None:
    handle = actor.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=max_concurrency,
        enable_task_events=False,  # Ray's record of each call would cost more than most calls
        **place,
    ).remote(plan)
    ray.get(handle.pid.remote(), timeout=START_SECONDS)


def pool_status() -> list[dict[str, object]]:
    """What the pool says of its workers; blocking."""
    status: list[dict[str, object]] = Remote(POOL).call_blocking("describe", seconds=10)
    return status


def pool_nodes() -> list[dict[str, object]]:
    """What the pool says of the nodes; blocking."""
    nodes: list[dict[str, object]] = Remote(POOL).call_blocking("ground", seconds=10)
    return nodes
