"""The key of a conversation is looked at again while it goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployments import conversations
from deployments.access import Caller
from deployments.problems import Refused, no_access, too_often

from .callers import Always
from .driving import Socket
from .talkers import Talker
from .talking import Make, ledger, make, told, turn

pytestmark = pytest.mark.slow

__all__ = ["ledger", "make"]


class Barred:
    """Lets a caller in for so many turns."""

    def __init__(self, turns: int, then: Refused) -> None:
        self._left = turns
        self._then = then

    def is_good(self, caller: Caller) -> bool:
        return self._left > 0

    def check(self, headers: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._then


async def test_a_key_that_was_revoked_ends_the_conversation_at_its_next_turn(make: Make) -> None:
    socket = Socket(make(), checks=Barred(1, Refused(no_access("It was revoked."))))
    await socket.opened()
    await told(socket, "1", "a")
    socket.say(turn("2", "b"))

    assert (await socket.frame())["error"]["status"] == 401
    assert await socket.closed() == 1008
    assert Talker.began == ["a"]


async def test_each_turn_counts_against_the_rate_of_its_key(make: Make) -> None:
    socket = Socket(make(), checks=Barred(1, Refused(too_often("Too often.", 1.0))))
    await socket.opened()
    await told(socket, "1", "a")

    refused = await told(socket, "2", "b")

    assert (refused["error"]["status"], Talker.began) == (429, ["a"])


class Revocable(Always):
    """Lets callers in until their key is revoked."""

    good = True

    def is_good(self, caller: Caller) -> bool:
        return self.good


async def test_a_socket_that_says_nothing_ends_with_its_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "LOOK", 0.01)
    checks = Revocable()
    socket, other = Socket(make(), checks=checks), Socket(make())
    await socket.opened()
    await other.opened()
    await asyncio.sleep(0.05)
    checks.good = False

    assert await socket.closed() == 1008
    assert (await told(other, "1", "a"))["type"] == "output"
