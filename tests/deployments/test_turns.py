"""A turn that is over is over: the next may follow at once, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from deployments import conversations
from deployments.access import Caller
from tests.garbage import garbage

from .callers import Always
from .driving import Socket, ask
from .talking import Make, ledger, make

pytestmark = pytest.mark.slow

__all__ = ["ledger", "make"]


class Revocable(Always):
    """Lets callers in until their key is revoked."""

    good = True

    def is_good(self, caller: Caller) -> bool:
        return self.good


async def answered(socket: Socket, id: str, text: str) -> Any:
    socket.say({"type": "input", "id": id, "input": {"text": text}})
    while (frame := await socket.frame())["type"] == "event":
        continue
    return frame


@pytest.mark.parametrize("on_message", ["enqueue", "interrupt", "reject"])
async def test_an_input_right_after_the_answer_is_a_turn_like_any_other(make: Make, on_message: str) -> None:
    socket = Socket(make(on_message=on_message))
    await socket.opened()

    frames = [await answered(socket, "1", text) for text in "abc"]

    assert [frame["type"] for frame in frames] == ["output"] * 3
    assert frames[-1]["output"] == {"lines": ["a", "b", "c"]}


async def test_a_socket_that_says_nothing_ends_with_its_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "LOOK", 0.01)
    checks = Revocable()
    socket, other = Socket(make(), checks=checks), Socket(make())
    await socket.opened()
    await other.opened()
    await asyncio.sleep(0.05)
    checks.good = False

    assert await socket.closed() == 1008
    assert (await answered(other, "1", "a"))["type"] == "output"


async def test_a_turn_over_a_socket_is_freed_at_once(make: Make) -> None:
    """The collector would have to look for it among all that the process has, and everything stands still then."""
    socket = Socket(make())
    await socket.opened()

    with garbage() as left:
        for text in "abc":
            await answered(socket, "1", text)
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
