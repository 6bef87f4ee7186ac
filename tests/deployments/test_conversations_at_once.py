"""Turns that an agent answers at once: each leaves as it comes, in its order, and needs no more room than any other."""

from __future__ import annotations

import asyncio

import pytest

from agents import Context

from .driving import Socket
from .talkers import Parrot, Said, Talker
from .talking import Make, ledger, make, turn

__all__ = ["ledger", "make"]


async def test_turns_that_end_at_once_need_one_slot_and_no_line(make: Make) -> None:
    socket = Socket(make("Parrot", slots=1, queue=0))
    await socket.opened()
    for text in ("wait", "one", "tell", "fail", "two"):
        socket.say(turn(text, text))
    Talker.gate.set()

    frames = [await socket.frame() for _ in range(6)]

    assert [(frame["type"], frame["id"]) for frame in frames] == [
        ("output", "wait"),
        ("output", "one"),
        ("event", "tell"),
        ("output", "tell"),
        ("error", "fail"),
        ("output", "two"),
    ]
    assert [frame["output"]["text"] for frame in frames if frame["type"] == "output"] == ["wait", "one", "tell", "two"]
    assert frames[4]["error"]["detail"] == "was told to"


async def test_inputs_of_two_sockets_that_come_together_need_one_slot_and_no_line(make: Make) -> None:
    app = make("Parrot", slots=1, queue=0)
    sockets = [Socket(app, f"/session?session={name}") for name in ("s1", "s2")]
    for socket in sockets:
        await socket.opened()
    await asyncio.sleep(0.01)

    for socket in sockets:
        socket.say(turn("1", "one"))

    assert [(await socket.frame())["type"] for socket in sockets] == ["output", "output"]
    assert app.load.running == 0


async def test_between_turns_that_wait_a_cancel_is_heard(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket(make("Parrot"))

    async def run(self: Parrot, ctx: Context, said: Said) -> Said:
        if said.text == "wait":
            await Talker.gate.wait()
        if said.text == "first":
            asyncio.get_running_loop().call_soon(socket.say, {"type": "cancel", "id": "last"})
        return said

    monkeypatch.setattr(Parrot, "run", run)
    await socket.opened()
    texts = ["wait", "first", *map(str, range(10)), "last"]
    for text in texts:
        socket.say(turn(text, text))
    await asyncio.sleep(0.01)
    Talker.gate.set()

    frames = [await socket.frame() for _ in texts]

    assert {frame["id"]: frame["type"] for frame in frames} == dict.fromkeys(texts, "output") | {"last": "error"}


async def test_where_the_client_reads_nothing_the_answers_wait_in_their_order(make: Make) -> None:
    socket = Socket(make("Parrot"))
    await socket.opened()
    socket.reading.clear()
    for text in ("one", "tell", "two"):
        socket.say(turn(text, text))
    await asyncio.sleep(0.01)
    socket.reading.set()
    socket.say(turn("three", "three"))

    frames = [await socket.frame() for _ in range(5)]

    assert [frame["id"] for frame in frames] == ["one", "tell", "tell", "two", "three"]
