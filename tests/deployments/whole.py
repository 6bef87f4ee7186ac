"""A Rubato without Ray: gateway, ledger, a worker and the agents' own applications behind one real HTTP server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from agents import Agent, Artifact, Background, Context, Permanent, Progress, Realtime, Retry, TextDelta
from agents.artifacts import artifact_store
from agents.catalog import Catalog, Entry
from cluster.claims import Hello
from cluster.lanes import lines_of
from cluster.tasklog import LogLine
from cluster.worker import Worker
from deployments.gateway import gateway_app
from deployments.guard import Guard, gateway_needs
from deployments.ingress import free_ports
from deployments.replica import Links, Replica
from deployments.verifier import Verifier
from tests.deployments.callers import called_by
from tests.deployments.driving import hosting
from tests.deployments.ledgers import Direct, running_ledger


class Said(BaseModel):
    """What somebody said."""

    text: str


class Parrot(Agent[Said, Said]):
    """Says it again, word by word; of `fail` it makes an error, and `wait` never ends by itself."""

    name = "parrot"
    realtime = Realtime(deadline=5)
    background = Background(max_attempts=1, retry=Retry(base=0, jitter=0))

    async def run(self, ctx: Context, said: Said) -> Said:
        if said.text == "fail":
            raise Permanent("it has no answer to that")
        if said.text == "wait":
            await ctx.emit(Progress(message="waiting"))
            await asyncio.sleep(3600)
        for word in said.text.split():
            await ctx.emit(TextDelta(text=f"{word} "))
        return Said(text=await ctx.step("upper", str.upper, said.text))


class Upload(BaseModel):
    """A file and how it is to be read."""

    file: Artifact
    fold: bool = False


class Counted(BaseModel):
    """How long a file is."""

    name: str
    media_type: str
    bytes: int


class Counter(Agent[Upload, Counted]):
    """Counts the bytes of a file; an empty one is an error."""

    name = "counter"
    background = Background(max_attempts=1)

    async def run(self, ctx: Context, upload: Upload) -> Counted:
        data = await asyncio.to_thread(upload.file.read)
        if not data:
            raise Permanent("the file is empty")
        return Counted(name=upload.file.name, media_type=upload.file.media_type, bytes=len(data))


AGENTS = (Parrot, Counter)


@dataclass(frozen=True, slots=True)
class Whole:
    """A running one; `said` is what the code of each task has logged."""

    url: str
    said: dict[str, list[LogLine]]


class Door:
    """Leads to an agent's own application, or to the gateway."""

    def __init__(self, gateway: ASGIApp, replicas: dict[str, Replica]) -> None:
        self._gateway = gateway
        self._replicas = replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = scope.get("path", "").split("/")
        if scope["type"] == "http" and parts[1:3] == ["v1", "agents"] and parts[3:4] and parts[3] in self._replicas:
            scope = {**scope, "root_path": "/".join(parts[:4])}
            await self._replicas[parts[3]](scope, receive, send)
        else:
            await self._gateway(scope, receive, send)


@contextmanager
def whole(folder: Path, agents: Sequence[type[Agent]] = AGENTS, *, guarded: bool = False) -> Iterator[Whole]:
    """Up with these agents, on a port of its own, until the block ends; `guarded`: it asks for keys, once there are."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(lambda: None, port=port, log_level="warning", lifespan="off"))
    running = Whole(f"http://127.0.0.1:{port}", {})
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, folder, agents, running, guarded)))
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server did not start"
    try:
        yield running
    finally:
        server.should_exit = True
        thread.join(20)


async def _serve(
    server: uvicorn.Server, folder: Path, kinds: Sequence[type[Agent]], running: Whole, guarded: bool
) -> None:
    artifacts = str(folder / "artifacts")
    catalog = Catalog(Entry(f"tests:{kind.__name__}", kind, "v1") for kind in kinds)

    async def logs(tenant: str, task_id: str) -> list[LogLine]:
        return running.said.get(task_id, [])

    async with running_ledger() as ledger, hosting() as host:
        agents = {name: entry.agent() for name, entry in catalog.items()}
        hello = Hello("w1", "cpu1", dict.fromkeys(agents, 4), {name: lines_of(name) for name in agents})
        link = Direct(ledger)
        worker = Worker(hello, agents, link, artifacts, die=lambda: None)
        working = asyncio.create_task(worker.run())
        gateway = gateway_app(catalog, ledger, lambda tenant: artifact_store(artifacts, tenant), logs)
        replicas = {
            name: Replica(
                entry, agents[name], entry.agent.realtime, partial(artifact_store, artifacts), Links(ledger, link)
            )
            for name, entry in catalog.items()
            if entry.agent.realtime is not None
        }
        for replica in replicas.values():
            host(replica)
        door, verifier = Door(gateway, replicas), Verifier(ledger.keys_since, opens=True, sleep=_soon)
        reading = asyncio.create_task(verifier.run())
        server.config.app = Guard(door, verifier, gateway_needs) if guarded else called_by(door)
        await server.serve()
        reading.cancel()
        await worker.stop()
        await asyncio.wait([working], timeout=10)


async def _soon(seconds: float) -> None:
    """A wait that is a hundred times as short."""
    await asyncio.sleep(seconds / 100)
