"""The WebSocket of a session: turns in their order, whatever comes in between."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc

import pytest

from cluster.ledger import Ledger
from cluster.sessions import Memory
from deployments import conversations
from deployments.frames import WAITING

from .driving import Socket
from .talkers import Talker
from .talking import Make, ledger, make, spoken, told, turn

pytestmark = pytest.mark.slow

__all__ = ["ledger", "make"]


async def until(count: int) -> None:
    """Returns when so many turns have begun."""
    async with asyncio.timeout(5):
        while len(Talker.began) < count:
            await asyncio.sleep(0.002)


async def test_each_turn_goes_on_from_the_one_before_over_any_socket(make: Make, ledger: Ledger) -> None:
    one, other = Socket(make()), Socket(make())
    assert [await one.opened(), await other.opened()] == ["s1", "s1"]

    assert await told(one, "1", "a") == {"type": "output", "id": "1", "output": {"lines": ["a"]}}
    assert (await told(other, "1", "b"))["output"] == {"lines": ["a", "b"]}
    assert (await told(one, "2", "c"))["output"] == {"lines": ["a", "b", "c"]}
    assert (await ledger.memory("", "talker", "s1")).version == 3


async def test_events_come_before_the_output_and_say_what_was_reached(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    Talker.gate.set()
    socket.say(turn("1", "wait"))

    frames = [await socket.frame() for _ in range(4)]

    assert [frame["type"] for frame in frames] == ["event", "event", "event", "output"]
    events = [(frame["event"]["type"], frame["event"].get("step")) for frame in frames[:3]]
    assert events == [
        ("step.completed", "memory read#0"),
        ("progress", None),
        ("step.completed", "memory write#0"),
    ]


async def test_who_names_no_session_is_given_one(make: Make, ledger: Ledger) -> None:
    socket = Socket(make(), "/session")
    session = await socket.opened()

    await told(socket, "1", "a")

    assert (await ledger.memory("", "talker", session)).version == 1


async def test_a_turn_is_saved_before_it_is_answered(make: Make, ledger: Ledger) -> None:
    socket = Socket(make())
    await socket.opened()

    await told(socket, "1", "a")

    assert await ledger.memory("", "talker", "s1") == Memory(1, '{"lines":["a"]}')


async def test_inputs_that_come_meanwhile_wait_for_their_turns(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    for id in ("1", "2", "3"):
        socket.say(turn(id, f"wait {id}"))
    await until(1)
    await asyncio.sleep(0.01)
    assert Talker.began == ["wait 1"]
    Talker.gate.set()

    lines = [(await spoken(socket, id))["output"]["lines"] for id in ("1", "2", "3")]

    assert lines[-1] == ["wait 1", "wait 2", "wait 3"]
    assert Talker.began == ["wait 1", "wait 2", "wait 3"]


async def test_no_more_wait_than_there_is_room_for(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say(turn("first", "wait"))
    await until(1)
    for n in range(WAITING + 1):
        socket.say(turn(f"{n}", "wait"))

    refused = [await socket.frame() for _ in range(3)][-1]

    assert (refused["type"], refused["id"]) == ("error", f"{WAITING}")
    assert refused["error"]["type"] == "/problems/overloaded"
    Talker.gate.set()
    assert (await spoken(socket, "first"))["type"] == "output"


async def test_an_agent_may_reject_what_comes_meanwhile(make: Make) -> None:
    socket = Socket(make(on_message="reject"))
    await socket.opened()
    socket.say(turn("1", "wait"))
    await until(1)
    socket.say(turn("2", "b"))

    frames = [await socket.frame() for _ in range(3)]

    assert (frames[2]["id"], frames[2]["error"]["type"]) == ("2", "/problems/turn-under-way")
    Talker.gate.set()
    assert (await spoken(socket, "1"))["output"] == {"lines": ["wait"]}


async def test_an_agent_may_be_interrupted_by_what_comes_meanwhile(make: Make, ledger: Ledger) -> None:
    socket = Socket(make(on_message="interrupt"))
    await socket.opened()
    socket.say(turn("1", "wait"))
    await until(1)
    socket.say(turn("2", "b"))

    first = await spoken(socket, "1")

    assert (first["type"], first["error"]["type"]) == ("error", "/problems/turn-canceled")
    assert (await spoken(socket, "2"))["output"] == {"lines": ["b"]}
    assert Talker.cancelled == ["wait"]
    assert (await ledger.memory("", "talker", "s1")).version == 1


async def test_a_turn_can_be_cancelled_while_it_runs_and_while_it_waits(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    for id in ("1", "2", "3"):
        socket.say(turn(id, "wait" if id == "1" else id))
    await until(1)
    socket.say({"type": "cancel", "id": "2"})
    socket.say({"type": "cancel", "id": "1"})
    socket.say({"type": "cancel", "id": "unknown"})

    ends = [await spoken(socket, id) for id in ("1", "2", "3")]

    assert [end["type"] for end in ends] == ["error", "error", "output"]
    assert ends[2]["output"] == {"lines": ["3"]}
    assert (Talker.began, Talker.cancelled) == (["wait", "3"], ["wait"])


async def test_an_id_that_is_under_way_is_refused_and_may_come_again_afterwards(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say(turn("1", "wait"))
    await until(1)
    socket.say(turn("1", "b"))

    frames = [await socket.frame() for _ in range(3)]

    assert frames[2]["error"]["type"] == "/problems/invalid-frame"
    Talker.gate.set()
    await spoken(socket, "1")
    assert (await told(socket, "1", "c"))["output"] == {"lines": ["wait", "c"]}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"type":"input","id":"1"}', '{"type":"x","id":"1"}'])
async def test_what_is_no_frame_is_an_error_frame_and_no_close(make: Make, text: str) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say(text)

    frame = await socket.frame()

    assert frame["type"] == "error"
    assert frame["error"]["type"] in ("/problems/invalid-frame", "/problems/malformed-json")
    assert (await told(socket, "1", "a"))["type"] == "output"


async def test_an_input_that_does_not_fit_the_agent_is_an_error_frame(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say({"type": "input", "id": "1", "input": {"text": 7}})

    frame = await socket.frame()

    assert (frame["id"], frame["error"]["type"]) == ("1", "/problems/invalid-input")
    assert frame["error"]["errors"]


async def test_a_turn_that_fails_is_an_error_frame_and_the_next_one_goes_on(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()

    frame = await told(socket, "1", "fail")

    assert (frame["type"], frame["error"]["type"]) == ("error", "/problems/agent-failed")
    assert (await told(socket, "2", "a"))["output"] == {"lines": ["a"]}


async def test_a_turn_that_takes_too_long_ends_at_the_deadline(make: Make) -> None:
    socket = Socket(make(deadline=0.1))
    await socket.opened()

    frame = await told(socket, "1", "wait")

    assert (frame["error"]["status"], frame["error"]["type"]) == (504, "/problems/deadline")
    assert Talker.cancelled == ["wait"]


async def test_bytes_end_the_conversation(make: Make) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say_bytes(b"\x00\x01")

    assert await socket.closed() == 1008


@pytest.mark.parametrize("text", ["x" * (2**20 + 1), "é" * (2**19 + 1)])
async def test_a_frame_of_more_than_a_mebibyte_ends_the_conversation(make: Make, text: str) -> None:
    socket = Socket(make())
    await socket.opened()
    socket.say(text)

    assert await socket.closed() == 1009


@pytest.mark.parametrize(
    "path", ["/session?session=" + "x" * 5000, "/session?session=", "/session?sesion=1", "/other", "/"]
)
async def test_what_is_no_session_is_closed_at_once(make: Make, path: str) -> None:
    assert await Socket(make(), path).closed() == 1008


async def test_a_client_that_leaves_cancels_its_turn(make: Make) -> None:
    app = make()
    socket = Socket(app)
    await socket.opened()
    socket.say(turn("1", "wait"))
    await until(1)
    socket.leave()

    await asyncio.wait_for(socket.task, 5)

    await asyncio.sleep(0.01)
    assert Talker.cancelled == ["wait"]
    assert app.load.running == 0


async def test_a_client_whose_handler_is_cancelled_leaves_nothing_behind(make: Make) -> None:
    """As Serve does it when the client is gone."""
    app = make()
    socket = Socket(app)
    await socket.opened()
    socket.say(turn("1", "wait"))
    await until(1)
    socket.task.cancel()

    await asyncio.wait([socket.task], timeout=5)

    await asyncio.sleep(0.01)
    assert Talker.cancelled == ["wait"]
    assert app.load.running == 0
    assert app._desk.open == set()


async def test_a_replica_that_ends_says_so_to_idle_sockets(make: Make) -> None:
    app = make()
    sockets = [Socket(app), Socket(app, "/session")]
    for socket in sockets:
        await socket.opened()

    app.leave("drain")

    assert [await socket.closed() for socket in sockets] == [1012, 1012]


async def test_a_socket_that_comes_when_the_replica_ends_already_is_told_so(make: Make) -> None:
    app = make()
    app.leave("drain")
    socket = Socket(app)
    await socket._next()

    assert await socket.closed() == 1012


async def test_turns_that_interrupt_each_other_need_one_slot_and_no_line(make: Make) -> None:
    socket = Socket(make(on_message="interrupt", slots=1, queue=0))
    await socket.opened()
    for n in range(5):
        socket.say(turn(f"{n}", "wait"))
        await until(n + 1)
    Talker.gate.set()

    ends = [await spoken(socket, f"{n}") for n in range(5)]

    assert [end["type"] for end in ends] == ["error"] * 4 + ["output"]


async def test_a_replica_that_ends_finishes_the_turn_that_runs_and_begins_no_other(make: Make, ledger: Ledger) -> None:
    app = make()
    socket = Socket(app)
    await socket.opened()
    socket.say(turn("1", "wait"))
    await until(1)
    socket.say(turn("2", "never"))
    await asyncio.sleep(0.01)
    app.leave("drain")
    socket.say(turn("3", "never"))
    await asyncio.sleep(0.01)
    Talker.gate.set()

    assert (await spoken(socket, "1"))["output"] == {"lines": ["wait"]}
    assert await socket.closed() == 1012
    assert Talker.began == ["wait"]

    again = Socket(make())
    await again.opened()
    assert (await told(again, "2", "b"))["output"] == {"lines": ["wait", "b"]}


async def test_a_client_that_does_not_read_is_closed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "SLOW", 0.05)
    monkeypatch.setattr(conversations, "GOODBYE", 0.05)
    app = make()
    socket = Socket(app)
    await socket.opened()
    socket.reading.clear()
    socket.say(turn("1", "a"))

    await asyncio.wait_for(socket.task, 5)

    assert app._desk.open == set()
    assert app.load.running == 0


async def test_turns_at_once_over_two_sockets_lose_nothing_that_was_answered(make: Make, ledger: Ledger) -> None:
    sockets = [Socket(make()), Socket(make())]
    for socket in sockets:
        await socket.opened()

    async def talk(socket: Socket, name: str) -> list[str]:
        ends = [(n, await told(socket, f"{n}", f"{name} {n}")) for n in range(20)]
        return [f"{name} {n}" for n, end in ends if end["type"] == "output"]

    answered = await asyncio.gather(*(talk(socket, name) for socket, name in zip(sockets, "ab", strict=True)))

    memory = await ledger.memory("", "talker", "s1")
    lines = json.loads(memory.value or "")["lines"]
    assert sorted(lines) == sorted([*answered[0], *answered[1]])
    assert memory.version == len(lines)


async def test_between_turns_nothing_is_kept_of_a_session_but_its_socket(make: Make, ledger: Ledger) -> None:
    """However much was said in it; its state is in the ledger, which is in this process too."""
    app, said, sockets = make(), "x" * 500_000, []
    for n in range(20):
        sockets.append(socket := Socket(app, f"/session?session={n}"))
        await socket.opened()
        await told(socket, "1", "")
    tracemalloc.start()
    try:
        for n, socket in enumerate(sockets):
            await told(socket, "2", said)
            memory = await ledger.memory("", "talker", f"{n}")
            await ledger.remember("", "talker", f"{n}", memory.version, "null")
        del memory
        Talker.began.clear()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept < len(sockets) * 5_000
