"""A session over a real WebSocket, through HAProxy: what closes it, and how a new version takes over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agents.catalog import load
from deployments.serving import ReplicaPlan, build, build_gateway, deploy
from tests.raycluster import Cluster, ray_cluster

from .acting import start_greeting
from .serving_contract import ledger, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

TALKER = "tests.deployments.talkers:Talker"


def _deploy(cluster: Cluster) -> None:
    app = build(load(TALKER), ReplicaPlan(TALKER, str(cluster.folder / "artifacts"), opens=True))
    deploy(build_gateway(start_greeting, "welcome"), {"talker": app})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster() as cluster:
        ledger(cluster)
        _deploy(cluster)
        until(lambda: httpx.get(f"{cluster.url}/v1/agents/talker").status_code == 200)
        yield cluster


def session(cluster: Cluster, id: str) -> Any:
    return connect(f"ws://127.0.0.1:{cluster.http}/v1/agents/talker/session?session={id}", max_size=None)


async def turn(socket: ClientConnection, id: str, text: str) -> Any:
    """The last frame of the turn."""
    await socket.send(json.dumps({"type": "input", "id": id, "input": {"text": text}}))
    while (frame := json.loads(await socket.recv()))["type"] in ("event", "session"):
        continue
    assert frame["id"] == id
    return frame


async def closed(socket: ClientConnection) -> int | None:
    """The code it is closed with, after whatever else comes."""
    async with asyncio.timeout(30):
        with suppress(ConnectionClosed):
            async for _ in socket:
                continue
        await socket.wait_closed()
    return socket.close_code


async def test_a_session_goes_on_over_sockets_and_over_http(cluster: Cluster) -> None:
    async with session(cluster, "both") as socket:
        assert json.loads(await socket.recv()) == {"type": "session", "session": "both"}
        assert (await turn(socket, "1", "a"))["output"] == {"lines": ["a"]}
    async with httpx.AsyncClient(base_url=cluster.url) as http:
        answer = await http.post("/v1/agents/talker/run?session=both", json={"text": "b"})
    assert answer.json() == {"lines": ["a", "b"]}
    async with session(cluster, "both") as socket:
        assert (await turn(socket, "1", "c"))["output"] == {"lines": ["a", "b", "c"]}


async def test_bytes_and_large_messages_end_a_conversation_and_what_is_no_frame_does_not(cluster: Cluster) -> None:
    async with session(cluster, "bad") as socket:
        await socket.recv()
        await socket.send("hello")
        assert json.loads(await socket.recv())["error"]["type"] == "/problems/malformed-json"
        await socket.send(b"\x00")
        assert await closed(socket) == 1008
    for size in (2**20 + 1, 10 * 2**20):
        async with session(cluster, "bad") as socket:
            await socket.recv()
            await socket.send("x" * size)
            assert await closed(socket) == 1009


async def test_a_new_version_lets_a_turn_end_and_takes_the_session_over(cluster: Cluster) -> None:
    """Each client connects again where it is told that its replica ends, and sends again what has no answer."""
    async with session(cluster, "idle") as idle, session(cluster, "busy") as busy:
        await turn(idle, "1", "before")
        await busy.recv()
        deploying = asyncio.create_task(asyncio.to_thread(_deploy, cluster))
        answered: list[str] = []
        while not deploying.done():
            try:
                end = await turn(busy, f"{len(answered)}", f"nap 0.{1 + len(answered) % 9}")
            except ConnectionClosed:
                break
            answered.append(end["output"]["lines"][-1])
        await deploying
        codes = [await closed(socket) for socket in (idle, busy)]

    assert codes == [1012, 1012]
    async with session(cluster, "idle") as idle, session(cluster, "busy") as busy:
        assert (await turn(idle, "2", "after"))["output"] == {"lines": ["before", "after"]}
        lines = (await turn(busy, "last", "after"))["output"]["lines"]
    assert lines == [*answered, "after"]
