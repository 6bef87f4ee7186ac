"""Calls over a connection of our own: they arrive whole and come back to whoever asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from agents.errors import Overloaded
from cluster import door as doors
from cluster import frames
from cluster.direct import Away, Direct, NoDoor
from cluster.door import Door
from cluster.errors import Unavailable

from .desk import HOST, Desk, direct, until


@pytest.fixture(params=["near", "far"])
async def calls(desk: Desk, request: pytest.FixtureRequest) -> AsyncIterator[Direct]:
    door = await desk.doorway.open(HOST)
    async with direct(door if request.param == "near" else replace(door, near="")) as made:
        yield made


# calls


async def test_arguments_arrive_as_they_were_given_and_so_does_the_answer(calls: Direct) -> None:
    assert await calls.call("echo", (1, "ä", None), {"deep": {"er": [2.5]}}) == (
        (1, "ä", None),
        {"deep": {"er": [2.5]}},
    )


async def test_answers_come_back_to_whoever_asked_in_any_order(calls: Direct, desk: Desk) -> None:
    slow = asyncio.create_task(calls.call("wait", ("slow",), {}))
    await until(lambda: desk.called == ["slow"])

    quick = await asyncio.gather(*(calls.call("echo", (number,), {}) for number in range(100)))
    assert not slow.done()
    desk.gate.set()

    assert [args for args, _ in quick] == [(number,) for number in range(100)]
    assert await slow == "slow"


async def test_what_a_method_raises_on_purpose_is_raised_at_its_caller(calls: Direct) -> None:
    with pytest.raises(Overloaded, match="too many") as caught:
        await calls.call("fail", ("ours",), {})

    assert caught.value.retry_after == 2.5


@pytest.mark.parametrize(
    ("which", "type", "says"),
    [
        ("theirs", ValueError, "a fault of ours"),
        ("stuck", RuntimeError, "OSError.*cannot travel"),
        ("fragile", TypeError, "other"),
    ],
)
async def test_any_other_error_fails_its_own_call_only(
    calls: Direct, which: str, type: type[Exception], says: str
) -> None:
    with pytest.raises(type, match=says):
        await calls.call("fail", (which,), {})

    assert await calls.call("echo", (1,), {}) == ((1,), {})


@pytest.mark.parametrize("method", ["secret", "doorway", "__class__", "__init__", ""])
async def test_nothing_may_be_called_but_what_is_on_the_list(calls: Direct, desk: Desk, method: str) -> None:
    with pytest.raises(AttributeError, match="no method"):
        await calls.call(method, (), {})

    assert desk.called == []


async def test_an_answer_that_is_too_large_is_refused_in_words(calls: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "LARGEST", 100_000)

    with pytest.raises(Unavailable, match=r"has 1000\d\d bytes, and 100000 may travel"):
        await calls.call("fill", (100_000,), {})
    assert len(await calls.call("fill", (90_000,), {})) == 90_000


async def test_a_question_that_is_too_large_is_not_sent(calls: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    await calls.call("echo", (), {})
    monkeypatch.setattr("cluster.direct.LARGEST", 1000)

    with pytest.raises(Unavailable, match="may travel"):
        await calls.call("echo", (bytes(1000),), {})
    assert await calls.call("echo", (), {}) == ((), {})


async def test_a_caller_who_leaves_harms_no_other(calls: Direct, desk: Desk) -> None:
    leaving = asyncio.create_task(calls.call("wait", ("leaving",), {}))
    staying = asyncio.create_task(calls.call("wait", ("staying",), {}))
    await until(lambda: len(desk.called) == 2)

    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    desk.gate.set()

    assert await staying == "staying"


# connections


async def test_all_who_call_at_first_share_one_connection(desk: Desk) -> None:
    door = await desk.doorway.open(HOST)
    asked = 0

    async def find() -> Door:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return door

    calls = Direct(find)
    first = asyncio.create_task(calls.call("echo", (), {}))
    await asyncio.sleep(0)
    others = [asyncio.create_task(calls.call("echo", (number,), {})) for number in range(50)]
    await asyncio.sleep(0)
    first.cancel()  # whoever began it may leave

    assert [args for args, _ in await asyncio.gather(*others)] == [(number,) for number in range(50)]
    assert (asked, len(desk.doorway.visits)) == (1, 1)
    calls.close()


async def test_a_lost_connection_fails_what_was_on_its_way_and_the_next_call_finds_the_next_life() -> None:
    lives = [Desk(), Desk()]
    places = [await life.doorway.open(HOST) for life in lives]
    found: list[Door] = []

    async def find() -> Door:
        found.append(places[len(found)])
        return found[-1]

    calls = Direct(find)
    caught = [asyncio.create_task(calls.call("wait", (number,), {})) for number in range(3)]
    await until(lambda: len(lives[0].called) == 3)

    lives[0].doorway.close()
    outcomes = await asyncio.gather(*caught, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Away] * 3
    assert await calls.call("echo", ("again",), {}) == (("again",), {})
    assert found == places
    assert lives[1].called == [(("again",), {})]
    lives[0].gate.set()
    calls.close()
    lives[1].doorway.close()


def test_a_caller_may_move_to_another_loop() -> None:
    places: list[Door] = []

    async def find() -> Door:
        return places[-1]

    calls = Direct(find)

    async def live() -> Any:
        desk = Desk()
        places.append(await desk.doorway.open(HOST))
        answer = await calls.call("echo", (len(places),), {})
        desk.doorway.close()
        await asyncio.sleep(0.01)
        return answer

    assert [asyncio.run(live()) for _ in range(2)] == [((1,), {}), ((2,), {})]


async def test_without_a_door_the_caller_is_told() -> None:
    async with direct(None) as calls:
        with pytest.raises(NoDoor, match="none"):
            await calls.call("echo", (), {})


async def test_a_door_that_nobody_opens_is_told_apart_from_one_who_is_away(desk: Desk) -> None:
    door = await desk.doorway.open(HOST)
    desk.doorway.close()

    async with direct(door) as calls:
        with pytest.raises(NoDoor, match=f"{door.port}"):
            await calls.call("echo", (), {})


async def test_whoever_does_not_say_where_the_door_is_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.direct.PATIENCE", 0.05)

    async def find() -> Door:
        await asyncio.sleep(3600)
        raise AssertionError

    with pytest.raises(Away, match="where its door is"):
        await Direct(find).call("echo", (), {})


async def test_the_secret_is_in_no_text(desk: Desk) -> None:
    door = await desk.doorway.open(HOST)

    assert str(door.secret) not in repr(door)
    assert door.secret.hex() not in repr(door)


async def family(door: Door) -> int:
    async with direct(door) as calls:
        assert await calls.call("echo", (1,), {}) == ((1,), {})
        assert calls.connection is not None
        found: int = calls.connection.transport.get_extra_info("socket").family
        return found


async def test_the_shortest_way_is_taken_that_leads_to_the_door(desk: Desk) -> None:
    door = await desk.doorway.open(HOST)

    assert await family(door) == socket.AF_UNIX
    assert await family(replace(door, near="\0nobody")) == socket.AF_INET
    assert await family(replace(door, near="")) == socket.AF_INET


@pytest.mark.parametrize("calls", ["far"], indirect=True)
async def test_a_machine_that_vanishes_is_noticed(calls: Direct, desk: Desk) -> None:
    await calls.call("echo", (), {})
    (visit,) = desk.doorway.visits

    for end in (visit, calls.connection):
        assert end is not None
        kernels = end.transport.get_extra_info("socket")
        assert kernels.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= frames.SILENCE
        assert kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == frames.SILENCE * 1000
