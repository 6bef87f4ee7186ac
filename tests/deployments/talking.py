"""Replicas of agents that remember, for the tests that talk to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from cluster.ledger import Ledger
from deployments.replica import Links, Replica

from .driving import Socket, hosting
from .ledgers import Direct, running_ledger
from .talkers import Talker

Make = Callable[..., Replica]


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running_ledger() as ledger:
        yield ledger


@pytest.fixture(params=[False, True], ids=["received", "handed over"])
async def make(
    request: pytest.FixtureRequest, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Make]:
    monkeypatch.setattr(Socket, "hands_over", request.param)
    Talker.gate = asyncio.Event()
    Talker.began.clear()
    Talker.cancelled.clear()
    async with hosting() as host:

        def make(agent: str = "Talker", of: Any = None, **policy: Any) -> Replica:
            entry = load(f"tests.deployments.talkers:{agent}")
            assert entry.agent.realtime is not None
            how = Realtime(**({"deadline": 5.0, "cache_ttl": entry.agent.realtime.cache_ttl} | policy))
            links = Links(of or ledger, Direct(ledger))
            app = Replica(entry, entry.agent(), how, partial(FolderArtifacts, tmp_path), links)
            host(app)
            return app

        yield make


def turn(id: str, text: str) -> dict[str, Any]:
    return {"type": "input", "id": id, "input": {"text": text}}


async def spoken(socket: Socket, id: str) -> Any:
    """The last frame of a turn, after its events."""
    while (frame := await socket.frame())["type"] == "event":
        assert frame["id"] == id
    assert frame["id"] == id, frame
    return frame


async def told(socket: Socket, id: str, text: str) -> Any:
    socket.say(turn(id, text))
    return await spoken(socket, id)
