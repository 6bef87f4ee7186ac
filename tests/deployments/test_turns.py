"""A turn that is over is over: the next may follow at once, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.garbage import garbage

from .driving import Socket, ask
from .talkers import Talker
from .talking import Make, ledger, make, told, turn

pytestmark = pytest.mark.slow

__all__ = ["ledger", "make"]


@pytest.mark.parametrize("on_message", ["enqueue", "interrupt", "reject"])
async def test_an_input_right_after_the_answer_is_a_turn_like_any_other(make: Make, on_message: str) -> None:
    socket = Socket(make(on_message=on_message))
    await socket.opened()

    frames = [await told(socket, "1", text) for text in "abc"]

    assert [frame["type"] for frame in frames] == ["output"] * 3
    assert frames[-1]["output"] == {"lines": ["a", "b", "c"]}


async def test_what_a_cancelled_run_still_says_is_not_told(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say(turn("1", "wait and protest"))
    while (await socket.frame())["event"]["type"] != "progress":
        continue
    socket.say({"type": "cancel", "id": "1"})

    refused = await socket.frame()
    await asyncio.sleep(0.05)
    Talker.gate.set()

    assert (refused["type"], refused["id"], refused["error"]["status"]) == ("error", "1", 409)
    assert Talker.cancelled == ["wait and protest"]
    assert (await told(socket, "2", "a"))["output"] == {"lines": ["a"]}  # no frame of the other came between


async def test_a_turn_over_a_socket_is_freed_at_once(make: Make) -> None:
    """The collector would have to look for it among all that the process has, and everything stands still then."""
    socket = Socket(make())
    await socket.opened()

    with garbage() as left:
        for text in "abc":
            await told(socket, "1", text)
        await asyncio.sleep(0.01)

    assert left == {}


async def test_a_turn_over_http_is_freed_at_once(make: Make) -> None:
    app = make()
    await ask(app, "POST", "/run?session=s1", b'{"text": "a"}')

    with garbage() as left:
        for text in "bc":
            assert (await ask(app, "POST", "/run?session=s1", json.dumps({"text": text}).encode())).status == 200
        await asyncio.sleep(0.01)

    assert left == {}
