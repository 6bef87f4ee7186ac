"""Ray's edge: the ledger, the pool and the workers as detached actors, each a line around a plain class."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agents.catalog import Catalog
from agents.ids import new_id
from agents.shelves import shelves_at

from . import ledger, pool, tasklog, worker
from .claims import Hello
from .collecting import collect_rarely
from .door import Door, Doorway
from .durable import RESULT_BYTES
from .errors import Fenced, Unavailable
from .pool import Death, Kind, StartFailed
from .remote import LEDGER, METHODS, NAMESPACE, POOL, Answering, Remote, RemoteLedger, RemoteLink
from .retention import Retention
from .schedule import Policy
from .shapes import ray_options
from .stores import store_at
from .terms import Terms
from .waiters import within

log = logging.getLogger("rubato.actors")

Place = Mapping[str, Any]  # options of an actor that say where it runs

HEAD: Place = {"resources": {HEAD_NODE_RESOURCE_NAME: 0.001}}
"""The node that no spot market takes away. It is asked for as a resource: an actor that needs none Ray puts on a random
node, even where it prefers one, and starts again by way of a random node, which may be one that is dead already."""

WORKER = "worker"  # workers are named worker:<kind>:<id>, so that a new pool knows what it adopts
START_SECONDS = 120.0  # a worker that is not ready by then has failed to start
OPEN_SECONDS = 5.0  # that a call waits for the ledger's store to be opened
HANG_UP = 1.0  # seconds after which a ledger that was fenced ends its connections: its last answers have left by then
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
        return Terms(dict(self.policies), self.retention, shelves, self.store_id)


class PoolPlan(NamedTuple):
    """What a pool keeps running, and where its workers find things."""

    kinds: tuple[Kind, ...]
    artifacts_url: str
    log_folder: str
    orphaned_after: float = 60.0  # seconds without a ledger, after which a worker ends itself
    result_bytes: int = RESULT_BYTES  # that a run may record at once


class Ledger(ledger.Ledger, Answering):
    """The ledger as an actor: it opens its store, and resumes its own generation after every restart."""

    def __init__(self, plan: LedgerPlan) -> None:
        self._plan = plan
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._trouble = "its store is not open yet"
        super().__init__(store_at(plan.where), terms=plan.terms)
        collect_rarely()
        self._doorway = Doorway({name: getattr(self, name) for name in METHODS})
        self._door: Door | None = None
        self._handing_over = False
        self._running = asyncio.get_running_loop().create_task(self._live())

    async def ask(self, packed: bytes) -> bytes:
        """As Answering does it, once the store is open; refused where that takes long, or failed."""
        if self._handing_over:
            await asyncio.Event().wait()  # until this process ends: then the next ledger is asked
        if not self._opened.done():
            await within(self._opened, OPEN_SECONDS)
        if not self._opened.done() or self._running.done():
            return self.refusal(Unavailable(f"the ledger is not there: {self._trouble}"))
        return await super().ask(packed)

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
        self.stop()
        await asyncio.wait([self._running])
        await self._store.close()

    async def _live(self) -> None:
        """Whatever ends it but a newer owner ends this process too, a little later: its next life tries again."""
        try:
            owner = await self._store.open(self._plan.store_id, self._plan.generation)
            self._fresh = owner.tick == 0 and not self._plan.keeps
            self._door = await _open_door(self._doorway)
            self._opened.set_result(None)
            await self.run()
            if not self._handing_over:
                self._leave_to_another()
        except Exception as error:
            self._trouble = str(error)
            log.exception("the ledger cannot go on")
            if not isinstance(error, Fenced):
                asyncio.get_running_loop().call_later(RETRY_SECONDS, _die)
            raise
        finally:
            if not self._opened.done():
                asyncio.get_running_loop().call_soon(self._opened.set_result, None)  # once this task has ended

    def _leave_to_another(self) -> None:
        """Fenced: whoever is connected asks again where the ledger is, for the next one goes by the same name."""
        self._trouble = "another one has taken its store"
        self._door = None
        asyncio.get_running_loop().call_later(HANG_UP, self._doorway.close)


class Worker:
    """A worker as an actor: agents are set up before it is ready, then it pulls until it is told to stop."""

    def __init__(self, id: str, kind: Kind, plan: PoolPlan) -> None:
        self._log = tasklog.TaskLog(Path(plan.log_folder), id)
        self._log.__enter__()  # left by the end of the process
        catalog = Catalog.load(kind.references)
        agents = {name: catalog[name].agent() for name in catalog}
        for agent in agents.values():
            agent.setup()
        collect_rarely()
        self._link = RemoteLink()
        hello = Hello(id, kind.name, kind.slots)
        self._worker = worker.Worker(
            *(hello, agents, self._link, plan.artifacts_url),
            die=_die,
            callees=kind.callees,
            result_bytes=plan.result_bytes,
        )
        loop = asyncio.get_running_loop()
        self._running = loop.create_task(self._worker.run())
        self._watching = loop.create_task(self._end_if_orphaned(plan.orphaned_after))

    async def ready(self) -> str:
        """The node this worker runs on; answers once every agent is set up."""
        return str(ray.get_runtime_context().get_node_id())

    async def pid(self) -> int:
        """This worker's process."""
        return os.getpid()

    async def live(self) -> None:
        """Lasts as long as the worker does."""
        await self._running

    async def stop(self) -> None:
        """Take no more, and give back what is held."""
        await self._worker.stop()

    async def _end_if_orphaned(self, seconds: float) -> None:
        """A worker that no ledger answers for so long is nobody's any more: its leases are over."""
        while self._link.silence < seconds:
            await asyncio.sleep(seconds / 10)
        log.error("no ledger has answered for %.0f s: this worker ends", seconds)
        _die()


async def _open_door(doorway: Doorway) -> Door | None:
    """On this node's own address as Ray has it, which is loopback where Ray listens on loopback only."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return None  # what Ray would encrypt must not travel in the clear
    try:
        return await doorway.open(ray.util.get_node_ip_address())
    except OSError as error:
        log.warning("no way in but Ray's: %s", error)
        return None


def _die() -> None:
    """End this process as a crash does: nothing that hangs in it can prevent that."""
    os.kill(os.getpid(), signal.SIGKILL)


class Pool(pool.Pool, Answering):
    """The pool as an actor; its workers are detached, so they outlive it, and its next life adopts them."""

    def __init__(self, plan: PoolPlan) -> None:
        self._plan = plan
        super().__init__(plan.kinds, RayFleet(plan), RemoteLedger())
        self._running = asyncio.get_running_loop().create_task(self._live())

    async def describe(self) -> list[dict[str, object]]:
        """The pool's status."""
        return self.status()

    async def pid(self) -> int:
        """The pool's process."""
        return os.getpid()

    async def _live(self) -> None:
        """What ends the keeping of workers ends this process too, a little later: its next life adopts them."""
        try:
            await self.run()
        except Exception:
            log.exception("the pool cannot go on")
            asyncio.get_running_loop().call_later(RETRY_SECONDS, _die)

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


class RayFleet:
    """Workers as named detached actors."""

    def __init__(self, plan: PoolPlan) -> None:
        self._plan = plan
        self._nodes: dict[str, tuple[str, int]] = {}  # worker to where its node's raylet listens

    def alive(self) -> list[tuple[str, str]]:
        names = [found["name"] for found in ray.util.list_named_actors(all_namespaces=True)]
        parts = [name.split(":") for name in names if name.startswith(f"{WORKER}:")]
        return [(id, kind) for _, kind, id in parts]

    async def start(self, kind: Kind) -> str:
        id = new_id()
        actor = ray.remote(Worker).options(
            name=f"{WORKER}:{kind.name}:{id}",
            namespace=NAMESPACE,
            lifetime="detached",
            max_concurrency=100,
            enable_task_events=False,
            **ray_options(kind.resources),
        )
        handle = actor.remote(id, kind, self._plan)
        try:
            await self._await_ready(kind, id, handle)
        except (RayActorError, RayTaskError, TimeoutError) as error:
            ray.kill(handle)
            raise StartFailed(_why(error)) from error
        return id

    async def _await_ready(self, kind: Kind, id: str, handle: Any) -> None:
        ready = handle.ready.remote()
        while True:
            try:
                node = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(ready.future())), START_SECONDS)
            except TimeoutError:
                if _is_pending(handle):  # no node has room: Ray goes on looking, and so do we
                    log.warning("a worker of kind %s waits for room: %s", kind.name, kind.resources)
                    continue
                raise
            self._nodes[id] = _raylet_of(node)
            return

    async def watch(self, id: str) -> Death:
        handle = self._handle(id)
        if handle is None:
            return Death(fault=True, detail="it was gone already")
        try:
            if id not in self._nodes:
                self._nodes[id] = _raylet_of(await handle.ready.remote())
            await handle.live.remote()
        except RayActorError as error:
            fault = await asyncio.to_thread(_answers, self._nodes.pop(id, ("", 0)))
            return Death(fault, _why(error))
        except RayTaskError as error:
            ray.kill(handle)
            return Death(fault=False, detail=_why(error))
        ray.kill(handle)
        return Death(fault=False, detail="it ended as it was asked to")

    async def stop(self, id: str) -> None:
        handle = self._handle(id)
        if handle is not None:
            try:
                await handle.stop.remote()
                ray.kill(handle)
            except RayActorError:
                return

    def _handle(self, id: str) -> Any:
        for found, kind in self.alive():
            if found == id:
                with suppress(ValueError):  # it has ended since
                    return ray.get_actor(f"{WORKER}:{kind}:{id}", namespace=NAMESPACE)
        return None


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
    _start(ray.remote(Pool), POOL, plan, HEAD, max_concurrency=1_000)


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


def _is_pending(handle: Any) -> bool:
    """Whether Ray has not found a place for the actor yet."""
    state = ray._private.state.actors(handle._actor_id.hex())
    return bool(state) and state.get("State") in ("DEPENDENCIES_UNREADY", "PENDING_CREATION") and not state.get("Pid")


def _raylet_of(node_id: str) -> tuple[str, int]:
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return node["NodeManagerAddress"], node["NodeManagerPort"]
    return "", 0


def _answers(raylet: tuple[str, int]) -> bool:
    """Whether a node's raylet still takes connections: Ray itself needs 13 s to notice that it does not."""
    try:
        with socket.create_connection(raylet, timeout=2.0):
            return True
    except OSError:
        return False


def _why(error: BaseException) -> str:
    """The last line of what Ray says, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
