"""Ray's edge to the workers: each a named, detached actor around a plain one; started, watched and ended here."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import ray
from ray.exceptions import RayActorError, RayTaskError

from agents.catalog import Catalog
from agents.resources import MARKET_LABEL

from . import nodes, tasklog, worker
from .claims import Hello
from .collecting import collect_rarely
from .draining import Lookout, Notices
from .durable import RESULT_BYTES
from .equipment import Equipment, equip
from .errors import Unavailable
from .kinds import Kind, versions_of
from .lanes import lines_of
from .nodekinds import SPOT, Market, NodeKind, kind_of, known, priced
from .older import Serving
from .pool import Death, Found, Ground, StartFailed
from .remote import NAMESPACE, POOL, Remote, RemoteLink
from .shapes import ray_options
from .situation import Rules
from .terminating import on_sigterm
from .worker import only_begun

log = logging.getLogger("rubato.fleet")

WORKER = "worker"  # workers are named worker:<kind>:<kind of node>:<id>, so that a new pool knows what it adopts
KINDS_SECONDS = 30.0  # between two looks at which kinds of nodes an autoscaler brings
SERVE_SECONDS = 10.0  # that a worker may take to say which versions it has
START_SECONDS = 120.0  # a worker that is not ready by then has failed to start
LINGER_SECONDS = 0.5  # for the pool to hear that a worker ended as it was told to, before its process does
TERM_SECONDS = 10.0  # between a process's SIGTERM and its SIGKILL, as most have it who send them


class PoolPlan(NamedTuple):
    """What a pool keeps running, and where its workers find things."""

    kinds: tuple[Kind, ...]
    artifacts_url: str
    log_folder: str
    node_kinds: tuple[NodeKind, ...] = ()  # that the operator told of
    rules: Rules = Rules()
    orphaned_after: float = 60.0  # seconds without a ledger, after which a worker ends itself
    result_bytes: int = RESULT_BYTES  # that a run may record at once
    equipment: Equipment = Equipment()  # of the workers
    modules: tuple[str, ...] = ()  # that Ray brings to them, by its names
    image: str = ""  # of the containers that they run in; '': in none


class Worker:
    """A worker as an actor: agents are set up before it is ready, then it pulls until it is told to stop."""

    def __init__(self, id: str, kind: Kind, plan: PoolPlan) -> None:
        self._log = tasklog.TaskLog(Path(plan.log_folder), id)
        self._log.__enter__()  # left by the end of the process
        equip(plan.equipment)
        catalog = Catalog.load(kind.references)
        agents = {name: catalog[name].agent() for name in catalog}
        for agent in agents.values():
            agent.setup()
        collect_rarely()
        self._link = RemoteLink()
        labels = ray.get_runtime_context().get_node_labels()
        market: Market = "spot" if labels.get(MARKET_LABEL) == SPOT else "on_demand"
        versions = versions_of(catalog.values())  # of the code that is here now
        lines = {agent: lines_of(agent, kind.shapes, market, versions.get(agent, "")) for agent in kind.slots}
        hello = Hello(id, kind.id, kind.slots, lines, versions)
        self._old_since: float | None = None
        self._made = hello
        self._worker = worker.Worker(
            *(hello, agents, self._link, plan.artifacts_url),
            die=die,
            callees=kind.callees,
            result_bytes=plan.result_bytes,
            shape=replace(kind.resources, market=market),
        )
        loop = asyncio.get_running_loop()
        self._running = loop.create_task(self._worker.run())
        self._watching = loop.create_task(self._end_if_orphaned(plan.orphaned_after))
        self._leaving: set[asyncio.Task[None]] = set()
        lookout = Lookout(ray.get_runtime_context().get_node_id(), PoolNotices(), look)
        self._noticing = loop.create_task(lookout.run(self._leave))
        on_sigterm(self._terminate)

    async def ready(self) -> str:
        """The node this worker runs on; answers once every agent is set up."""
        return str(ray.get_runtime_context().get_node_id())

    async def pid(self) -> int:
        """This worker's process."""
        return os.getpid()

    async def live(self) -> None:
        """Lasts as long as the worker does."""
        await self._running

    async def serve(self, old: bool) -> Serving:
        """Whether there is a newer version than this worker's: then it takes no more than what its own began."""
        self._old_since = (self._old_since or time.monotonic()) if old else None
        old_for = 0.0 if self._old_since is None else time.monotonic() - self._old_since
        self._worker.serve(old=old)
        own = only_begun(self._made)
        return Serving(own.versions, tuple(chain(*own.lines.values())), self._made.slots, old_for)

    async def drain(self, within: float | None) -> None:
        """Take no more, and end when what is held is over; what is not after so many seconds is given back."""
        await self._worker.drain(within)

    def _leave(self, within: float) -> None:
        """The node goes in so many seconds."""
        task = asyncio.get_running_loop().create_task(self._worker.vacate(within))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _terminate(self) -> None:
        """This process is to end: by itself, where no pool ends it that saw its work end."""
        log.warning("SIGTERM: this worker leaves")
        loop = asyncio.get_running_loop()
        self._running.add_done_callback(lambda _: loop.call_later(LINGER_SECONDS, die))
        loop.call_later(TERM_SECONDS, die)
        self._leave(TERM_SECONDS)

    async def _end_if_orphaned(self, seconds: float) -> None:
        """A worker that no ledger answers for so long is nobody's any more: its leases are over."""
        while self._link.silence < seconds:
            await asyncio.sleep(seconds / 10)
        log.error("no ledger has answered for %.0f s: this worker ends", seconds)
        die()


class PoolNotices:
    """The pool, as its workers ask it for their nodes' sake."""

    def __init__(self) -> None:
        self._pool = Remote(POOL)

    async def notice(self, node: str, wait: float) -> float | None:
        return cast(float | None, await self._ask("notice", node, wait))

    async def there(self) -> None:
        await self._ask("pid")

    async def _ask(self, method: str, *args: Any) -> Any:
        try:
            return await self._pool.call(method, *args)
        except AttributeError as error:  # a pool of other code
            raise Unavailable(str(error)) from error


async def look() -> dict[str, float]:
    """The nodes that are about to go, and in how many seconds."""
    return await asyncio.to_thread(nodes.draining)


class _Home(NamedTuple):
    """Where a worker is: its node, and where that one's raylet listens."""

    node: str
    raylet: tuple[str, int]


class RayFleet:
    """Workers as named detached actors."""

    def __init__(self, plan: PoolPlan, notices: Notices) -> None:
        self._plan = plan
        self._notices = notices
        self._names: dict[str, str] = {}  # of the workers' actors
        self._homes: dict[str, _Home] = {}  # of the workers
        self._coming: dict[str, Any] = {}  # workers that do not take work yet, and their handles
        self._brought: tuple[NodeKind, ...] = ()
        self._asked_at = -math.inf  # for these

    async def ground(self) -> Ground:
        return await asyncio.to_thread(self._look)

    def _look(self) -> Ground:
        if time.monotonic() - self._asked_at > KINDS_SECONDS:
            self._brought, self._asked_at = brought(self._plan.node_kinds), time.monotonic()
        found = nodes.nodes()
        kinds = tuple(known(self._brought, [node for node in found if node.draining is None]))
        of = [kind.name for node in found if (kind := kind_of(node, kinds)) is not None]
        return Ground(
            kinds,
            leaving=frozenset(node.id for node in found if node.draining is not None),
            placed=frozenset(id for id, handle in list(self._coming.items()) if not _is_pending(handle)),
            counts=Counter(of),
        )

    def alive(self) -> list[Found]:
        names = [found["name"] for found in ray.util.list_named_actors(all_namespaces=True)]
        parts = [name.split(":") for name in names if name.startswith(f"{WORKER}:")]
        return [Found(id, kind, node) for _, kind, node, id in parts]

    async def start(self, id: str, kind: Kind, node: NodeKind) -> str:
        self._names[id] = f"{WORKER}:{kind.id}:{node.name}:{id}"
        actor = ray.remote(Worker).options(
            name=self._names[id],
            namespace=NAMESPACE,
            lifetime="detached",
            max_concurrency=100,
            enable_task_events=False,
            **ray_options(kind.resources, node),
            **({"runtime_env": {"image_uri": self._plan.image}} if self._plan.image else {}),
        )
        return await self._ready(id, actor.remote(id, kind, self._plan), adopted=False)

    async def join(self, found: Found) -> str:
        self._names[found.id] = f"{WORKER}:{found.kind}:{found.node_kind}:{found.id}"
        handle = self._handle(found.id)
        if handle is None:
            raise StartFailed("it was gone already")
        return await self._ready(found.id, handle, adopted=True)

    async def _ready(self, id: str, handle: Any, *, adopted: bool) -> str:
        """The worker's node, once it takes work. What does not come up, or is not waited for any more, is ended; one
        that is adopted may only be out of reach."""
        self._coming[id] = handle
        try:
            node = await self._comes_up(handle)
        except (RayActorError, RayTaskError, TimeoutError) as error:
            self._forget(id)
            if not adopted:
                ray.kill(handle)
            raise StartFailed(_why(error)) from error
        except asyncio.CancelledError:
            self._forget(id)
            ray.kill(handle)
            raise
        finally:
            del self._coming[id]
        self._homes[id] = await asyncio.to_thread(_home_on, node)
        return node

    async def _comes_up(self, handle: Any) -> str:
        ready = asyncio.wrap_future(handle.ready.remote().future())
        while True:
            try:
                return str(await asyncio.wait_for(asyncio.shield(ready), START_SECONDS))
            except TimeoutError:
                if not _is_pending(handle):
                    raise  # else no node has room: Ray goes on looking, and the pool knows how long it has waited

    async def watch(self, id: str) -> Death:
        handle = self._handle(id)
        if handle is None:
            self._forget(id)
            return Death(fault=True, detail="it was gone already")
        try:
            await handle.live.remote()
        except RayActorError as error:
            return Death(await self._is_fault(self._homes.get(id), error), _why(error))
        except RayTaskError as error:
            ray.kill(handle)
            return Death(fault=False, detail=_why(error))
        finally:
            self._forget(id)
        ray.kill(handle)
        return Death(fault=False, detail="it ended as it was asked to")

    def _forget(self, id: str) -> None:
        self._names.pop(id, None)
        self._homes.pop(id, None)

    async def _is_fault(self, home: _Home | None, error: RayActorError) -> bool:
        """Whether the worker's node is not what ended it."""
        if home is None or error.preempted or home.node in self._notices.draining():
            return False
        return await asyncio.to_thread(_answers, home.raylet)

    async def serve(self, id: str, *, old: bool) -> Serving:
        handle = self._handle(id)
        with suppress(RayActorError, RayTaskError, TimeoutError, AttributeError):  # a worker of code without versions
            async with asyncio.timeout(SERVE_SECONDS):
                if handle is not None:
                    return cast(Serving, await handle.serve.remote(old))
        return Serving()

    async def drain(self, id: str, within: float | None) -> None:
        handle = self._handle(id)
        if handle is not None:
            with suppress(RayActorError):  # it has ended since
                await handle.drain.remote(within)

    def _handle(self, id: str) -> Any:
        with suppress(KeyError, ValueError):  # it has ended since
            return ray.get_actor(self._names[id], namespace=NAMESPACE)
        return None


def brought(told: tuple[NodeKind, ...]) -> tuple[NodeKind, ...]:
    """The kinds of nodes that come and go: those of the autoscaler, at the prices that the operator told; where there
    is none, those that the operator told of."""
    return tuple(priced(nodes.node_kinds(), told))


def die() -> None:
    """End this process as a crash does: nothing that hangs in it can prevent that."""
    os.kill(os.getpid(), signal.SIGKILL)


def _is_pending(handle: Any) -> bool:
    """Whether Ray has not found a place for the actor yet."""
    state = ray._private.state.actors(handle._actor_id.hex())
    return bool(state) and state.get("State") in ("DEPENDENCIES_UNREADY", "PENDING_CREATION") and not state.get("Pid")


def _home_on(node_id: str) -> _Home:
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return _Home(node_id, (node["NodeManagerAddress"], node["NodeManagerPort"]))
    return _Home(node_id, ("", 0))


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
