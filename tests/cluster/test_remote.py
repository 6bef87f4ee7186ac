"""Calls to an actor: straight where there is a way, through Ray where there is none, again while it is away."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import ray

from agents.errors import Overloaded
from cluster import actors, remote
from cluster.claims import HolderLink, WorkerLink
from cluster.client import LedgerClient
from cluster.direct import Away
from cluster.door import Door, Doorway
from cluster.errors import Unavailable
from cluster.ledger import Ledger
from cluster.pool import Losses
from cluster.remote import METHODS, Answering, Near

HOST = "127.0.0.1"


class Actor(Answering):
    """An actor in this process; `through_ray` counts what did not come in by its door."""

    def __init__(self) -> None:
        self.through_ray: list[str] = []
        self.called = 0
        methods = (self.add, self.refuse, self.break_down, self.die, self.wait)
        self.doorway = Doorway({method.__name__: method for method in methods})
        self.done = asyncio.Event()
        self.place: Door | None = None

    async def add(self, one: int, *, other: int) -> int:
        self.called += 1
        return one + other

    async def refuse(self) -> None:
        self.called += 1
        raise Overloaded("too many", retry_after=2.0)

    async def break_down(self) -> None:
        self.called += 1
        raise ValueError("a fault of ours")

    async def die(self) -> None:
        """Its process ends in the middle of the call."""
        self.called += 1
        self.doorway.close()

    async def wait(self) -> str:
        self.called += 1
        await self.done.wait()
        return "done"

    async def door(self) -> Door | None:
        return self.place

    async def ask(self, packed: bytes) -> bytes:
        self.through_ray.append(pickle.loads(packed)[0])
        return await super().ask(packed)


class _Remotely:
    """`handle.method.remote(...)`, as Ray has it."""

    def __init__(self, actor: Actor) -> None:
        self.remote = actor.ask


class _Handle:
    def __init__(self, actor: Actor) -> None:
        self.ask = _Remotely(actor)


class Caller(Near):
    """Reaches the newest of the actors of a test; none of them: it is away."""

    def __init__(self) -> None:
        super().__init__("ledger-0")
        self.actors: list[Actor] = []

    def handle(self) -> Any:
        if not self.actors:
            raise Away("no actor of that name")
        return _Handle(self.actors[-1])

    async def start(self, *, door: bool = True) -> Actor:
        """The actor's next life."""
        actor = Actor()
        if door:
            actor.place = await actor.doorway.open(HOST)
        self.actors.append(actor)
        return actor


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    made = Caller()
    yield made
    made.close()
    for actor in made.actors:
        actor.doorway.close()


async def test_a_call_goes_straight_to_the_actor(caller: Caller) -> None:
    actor = await caller.start()

    assert [await caller.call("add", number, other=1) for number in range(3)] == [1, 2, 3]
    assert actor.through_ray == ["door"]


@pytest.mark.parametrize("door", [True, False])
async def test_what_it_raises_is_raised_here_and_not_tried_again(caller: Caller, door: bool) -> None:
    actor = await caller.start(door=door)

    with pytest.raises(Overloaded) as caught:
        await caller.call("refuse", patience=5)

    assert caught.value.retry_after == 2.0
    assert actor.called == 1


async def test_a_fault_of_the_actor_is_not_taken_for_its_absence(caller: Caller) -> None:
    actor = await caller.start()

    with pytest.raises(ValueError, match="a fault of ours"):
        await caller.call("break_down", patience=5)

    assert actor.called == 1


async def test_without_a_door_calls_go_through_ray(caller: Caller) -> None:
    actor = await caller.start(door=False)

    assert [await caller.call("add", number, other=1) for number in range(3)] == [1, 2, 3]
    assert actor.through_ray == ["door", "add", "add", "add"], "it is not asked for its door each time"


async def test_a_door_that_cannot_be_reached_is_tried_again_after_a_while(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = await caller.start()
    actor.doorway.close()
    assert await caller.call("add", 1, other=1) == 2
    assert actor.through_ray == ["door", "add"]

    actor.place = await actor.doorway.open(HOST)
    assert await caller.call("add", 2, other=1) == 3
    assert actor.through_ray == ["door", "add", "add"]
    monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + remote.DETOUR)

    assert await caller.call("add", 3, other=1) == 4
    assert actor.through_ray == ["door", "add", "add", "door"]


async def test_the_next_life_is_found_by_whoever_has_patience(caller: Caller) -> None:
    first = await caller.start()
    await caller.call("add", 1, other=1)
    first.doorway.close()
    caller.actors.clear()

    waiting = [asyncio.create_task(caller.call("add", number, other=1, patience=10)) for number in range(20)]
    await asyncio.sleep(0.1)
    second = await caller.start()

    assert await asyncio.gather(*waiting) == [number + 1 for number in range(20)]
    assert (first.called, second.called) == (1, 20)
    assert second.through_ray == ["door"], "asked once for all of them"
    second.doorway.close()


async def test_a_call_that_breaks_in_the_middle_is_made_again(caller: Caller) -> None:
    first = await caller.start()
    dying = asyncio.create_task(caller.call("die", patience=10))
    while not first.called:
        await asyncio.sleep(0.001)
    second = await caller.start()

    while not second.called:  # it dies of it, too
        await asyncio.sleep(0.001)
    dying.cancel()

    assert first.called == 1


async def test_patience_begins_when_the_actor_is_away_not_with_the_call(caller: Caller) -> None:
    first = await caller.start()
    waiting = asyncio.create_task(caller.call("wait", patience=0.2))
    await asyncio.sleep(0.25)
    assert first.called == 1
    second = await caller.start()
    second.done.set()

    first.doorway.close()

    assert await waiting == "done"


async def test_whoever_has_no_patience_is_told_at_once(caller: Caller) -> None:
    with pytest.raises(Unavailable, match="ledger-0 does not answer: no actor"):
        await caller.call("add", 1, other=1)

    await caller.start()
    with pytest.raises(Unavailable, match="ledger-0 does not answer: the connection was lost"):
        await caller.call("die")


@pytest.mark.parametrize(("tls", "address"), [("1", HOST), ("true", HOST), ("0", "192.0.2.1")])
async def test_there_is_no_door_where_ray_encrypts_or_the_address_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, tls: str, address: str
) -> None:
    monkeypatch.setenv("RAY_USE_TLS", tls)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)

    assert await actors._open_door(Doorway({})) is None


async def test_the_door_is_at_the_nodes_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: HOST)
    doorway = Doorway({})

    door = await actors._open_door(doorway)

    assert door is not None
    assert (door.host, door.port > 0, len(door.secret)) == (HOST, True, 32)
    doorway.close()


def test_what_may_be_called_is_what_was_agreed_on_and_the_ledger_has_it() -> None:
    kinds = LedgerClient, WorkerLink, HolderLink, Losses
    agreed = {name for kind in kinds for name in dir(kind) if not name.startswith("_")}

    assert set(METHODS) == agreed
    assert {"submit", "pull", "report", "beat", "worker_lost"} < agreed
    assert all(asyncio.iscoroutinefunction(getattr(Ledger, name)) for name in METHODS)
