"""Calls over a connection of our own: they arrive whole, come back to whoever asked, and nobody else is listened to."""

from __future__ import annotations

import asyncio
import hmac
import os
import pickle
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agents.errors import Overloaded
from cluster import door as doors
from cluster import frames
from cluster.direct import Away, Connection, Direct, NoDoor
from cluster.door import NONCE, Door, Doorway, proof
from cluster.errors import Unavailable
from cluster.frames import HEAD, HELD, Frames

HOST = "127.0.0.1"


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


class Fragile(Exception):
    """Pickles, and does not come back from it."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


class Desk:
    """What is behind the door of these tests."""

    def __init__(self) -> None:
        self.called: list[Any] = []
        self.gate = asyncio.Event()
        self.doorway = Doorway({"echo": self.echo, "fail": self.fail, "wait": self.wait, "fill": self.fill})

    async def echo(self, *args: Any, **named: Any) -> Any:
        self.called.append((args, named))
        return args, named

    async def fail(self, error: str) -> None:
        errors = {
            "ours": Overloaded("too many", retry_after=2.5),
            "theirs": ValueError("a fault of ours"),
            "stuck": OSError(asyncio.get_running_loop()),
            "fragile": Fragile("one", "other"),
        }
        raise errors[error]

    async def wait(self, name: str) -> str:
        self.called.append(name)
        await self.gate.wait()
        return name

    async def fill(self, size: int, padding: bytes = b"") -> bytes:
        self.called.append(size)
        return bytes(size)

    async def secret(self) -> str:
        """Is not on the list."""
        self.called.append("secret")
        return "!"


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    made.gate.set()
    made.doorway.close()
    await asyncio.sleep(0)
    if made.doorway.running:
        await asyncio.wait(made.doorway.running)


@asynccontextmanager
async def direct(door: Door | None) -> AsyncIterator[Direct]:
    async def find() -> Door | None:
        return door

    made = Direct(find)
    yield made
    made.close()


@pytest.fixture
async def calls(desk: Desk) -> AsyncIterator[Direct]:
    async with direct(await desk.doorway.open(HOST)) as made:
        yield made


async def until(happened: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.005)


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


async def test_a_machine_that_vanishes_is_noticed(calls: Direct, desk: Desk) -> None:
    await calls.call("echo", (), {})
    (visit,) = desk.doorway.visits

    for end in (visit, calls.connection):
        assert end is not None
        kernels = end.transport.get_extra_info("socket")
        assert kernels.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= frames.SILENCE
        assert kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == frames.SILENCE * 1000


# strangers


class Raw:
    """A peer that says whatever it likes."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.door.host, self.door.port)
        self.nonce = await self.read()

    async def read(self) -> bytes:
        size, _ = HEAD.unpack(await self.reader.readexactly(HEAD.size))
        return await self.reader.readexactly(size)

    def say(self, body: bytes, number: int = 0) -> None:
        self.writer.write(HEAD.pack(len(body), number) + body)

    def greeting(self) -> bytes:
        mine = secrets.token_bytes(NONCE)
        return mine + proof(self.door.secret, b"caller", self.nonce + mine)

    async def greet(self) -> None:
        self.say(self.greeting())
        await self.read()

    async def is_shown_out(self) -> bool:
        with suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        return True


@pytest.fixture
async def stranger(desk: Desk) -> AsyncIterator[Raw]:
    raw = Raw(await desk.doorway.open(HOST))
    await raw.connect()
    yield raw
    raw.writer.close()


async def test_whoever_knows_the_secret_is_let_in(stranger: Raw) -> None:
    await stranger.greet()

    stranger.say(pickle.dumps(("echo", (7,), {})), number=5)

    assert pickle.loads(await stranger.read()) == (True, ((7,), {}))


def of_a_wrong_secret(raw: Raw) -> bytes:
    mine = secrets.token_bytes(NONCE)
    return mine + proof(secrets.token_bytes(32), b"caller", raw.nonce + mine)


def of_the_doors_own_words(raw: Raw) -> bytes:
    mine = secrets.token_bytes(NONCE)
    return mine + proof(raw.door.secret, b"door", raw.nonce + mine)


@pytest.mark.parametrize(
    "greeting",
    [
        of_a_wrong_secret,
        of_the_doors_own_words,
        lambda raw: raw.greeting()[:-1],
        lambda raw: raw.greeting()[:NONCE],
        lambda raw: raw.door.secret * 2,
        lambda raw: b"",
        lambda raw: secrets.token_bytes(64),
    ],
)
async def test_nothing_is_unpickled_for_whoever_does_not_know_it(
    stranger: Raw, desk: Desk, tmp_path: Path, greeting: Callable[[Raw], bytes]
) -> None:
    bomb = tmp_path / "bomb"

    stranger.say(greeting(stranger))
    stranger.say(pickle.dumps(Bomb(bomb)))

    assert await stranger.is_shown_out()
    assert not bomb.exists()
    assert not desk.doorway.visits
    assert not desk.doorway.strangers


async def test_a_bomb_in_place_of_a_greeting_does_not_go_off(
    stranger: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb(Path("b")))
    assert len(bomb) <= doors.GREETING, "it must not be refused for its size alone"

    stranger.say(bomb)

    assert await stranger.is_shown_out()
    assert os.listdir() == []


async def test_a_greeting_that_was_overheard_opens_nothing(stranger: Raw, desk: Desk) -> None:
    overheard = stranger.greeting()
    stranger.say(overheard)
    await stranger.read()

    other = Raw(stranger.door)
    await other.connect()
    other.say(overheard)

    assert await other.is_shown_out()
    assert len(desk.doorway.visits) == 1
    other.writer.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 5000, HEAD.pack(65, 0) + b"x"])
async def test_garbage_is_not_listened_to(stranger: Raw, said: bytes) -> None:
    stranger.writer.write(said)

    assert await stranger.is_shown_out()


@pytest.mark.parametrize("said", [b"", b"\0\0", HEAD.pack(64, 0), HEAD.pack(64, 0) + b"x" * 63])
async def test_a_stranger_who_falls_silent_is_shown_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 0.1)
    raw = Raw(await desk.doorway.open(HOST))
    await raw.connect()

    raw.writer.write(said)

    assert await raw.is_shown_out()
    assert not desk.doorway.strangers
    raw.writer.close()


async def test_one_who_is_known_may_be_silent_for_as_long_as_it_likes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 0.05)
    raw = Raw(await desk.doorway.open(HOST))
    await raw.connect()
    await raw.greet()

    await asyncio.sleep(0.2)
    raw.say(pickle.dumps(("echo", (), {})))

    assert pickle.loads(await raw.read()) == (True, ((), {}))
    raw.writer.close()


async def test_strangers_are_few_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "STRANGERS", 2)
    door = await desk.doorway.open(HOST)
    waiting = [Raw(door), Raw(door)]
    for raw in waiting:
        await raw.connect()

    late = Raw(door)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await late.connect()
    await waiting[0].greet()
    await late.connect()
    await late.greet()

    assert len(desk.doorway.visits) == 2
    for raw in [*waiting, late]:
        raw.writer.close()


@pytest.mark.parametrize("said", [HEAD.pack(frames.LARGEST + 1, 1) + b"x", HEAD.pack(2**32 - 1, 1)])
async def test_a_message_larger_than_any_is_not_read(stranger: Raw, desk: Desk, said: bytes) -> None:
    await stranger.greet()

    stranger.writer.write(said)

    assert await stranger.is_shown_out()
    assert not desk.doorway.visits


async def test_half_a_message_calls_nothing(stranger: Raw, desk: Desk) -> None:
    await stranger.greet()
    whole = pickle.dumps(("echo", (), {}))

    stranger.writer.write(HEAD.pack(len(whole), 1) + whole[:-1])
    stranger.writer.write_eof()

    assert await stranger.is_shown_out()
    assert desk.called == []
    assert not desk.doorway.visits


async def test_a_message_that_is_no_call_fails_by_its_number(stranger: Raw) -> None:
    await stranger.greet()

    stranger.say(b"no pickle", number=1)
    stranger.say(pickle.dumps(("echo",)), number=2)
    stranger.say(pickle.dumps(("echo", (), {})), number=3)

    outcomes = [pickle.loads(await stranger.read()) for _ in range(3)]
    assert [well for well, _ in outcomes] == [False, False, True]


# an impostor behind the door


@asynccontextmanager
async def impostor(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Door]:
    """Listens where a ledger did."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(met, HOST, 0)
    yield Door(HOST, server.sockets[0].getsockname()[1], secrets.token_bytes(32))
    server.close()


async def test_a_caller_unpickles_nothing_of_one_who_does_not_know_the_secret(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    heard = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        nonce = secrets.token_bytes(NONCE)
        writer.write(HEAD.pack(NONCE, 0) + nonce)
        heard = await reader.readexactly(HEAD.size + doors.GREETING)
        said = heard[HEAD.size :]
        for body in (said[NONCE:], pickle.dumps(Bomb(bomb))):  # its own proof again, then the bomb
            writer.write(HEAD.pack(len(body), 1) + body)
        await reader.read()

    async with impostor(talk) as door, direct(door) as calls:
        with pytest.raises(NoDoor):
            await calls.call("echo", (), {})

    assert not bomb.exists()
    assert door.secret not in heard, "the secret itself does not travel"
    assert hmac.digest(door.secret, b"", "sha256") not in heard


@pytest.mark.parametrize("nonce", [b"", b"x", b"x" * 64, b"x" * 65])
async def test_a_caller_answers_no_strange_nonce(nonce: bytes) -> None:
    said: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.pack(len(nonce), 0) + nonce)
        said.append(await reader.read())

    async with impostor(talk) as door, direct(door) as calls:
        with pytest.raises(NoDoor):
            await calls.call("echo", (), {})
        await until(lambda: bool(said))

    assert said == [b""]


async def test_a_caller_does_not_wait_for_one_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.direct.PATIENCE", 0.1)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with impostor(talk) as door, direct(door) as calls:
        with pytest.raises(NoDoor, match="TimeoutError"):
            await calls.call("echo", (), {})


# room


async def test_who_takes_no_answers_is_not_read_any_more(stranger: Raw, desk: Desk) -> None:
    await stranger.greet()
    size, asked = 2**20, 200
    question = pickle.dumps(("fill", (size, bytes(50_000)), {}))  # so that few of them arrive together

    for number in range(asked):
        stranger.say(question, number)
    await asyncio.sleep(0.3)
    begun = len(desk.called)
    answers = [await stranger.read() for _ in range(asked)]

    assert begun < asked / 2
    assert len(desk.called) == asked, "and it goes on once they are taken"
    assert {len(pickle.loads(answer)[1]) for answer in answers} == {size}


async def test_who_takes_no_answers_holds_only_so_much(
    stranger: Raw, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "LARGEST", 20 * 2**20)
    await stranger.greet()
    (visit,) = desk.doorway.visits

    question = pickle.dumps(("fill", (2**20,), {}))
    stranger.writer.write(b"".join(HEAD.pack(len(question), number) + question for number in range(200)))

    await until(lambda: not desk.doorway.visits)
    assert not visit.open
    assert len(desk.called) == 200, "what was read was done"


async def test_only_so_many_calls_of_one_are_in_progress(
    stranger: Raw, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "AT_ONCE", 3)
    await stranger.greet()

    for number in range(3):
        stranger.say(pickle.dumps(("wait", (number,), {})), number)
    await until(lambda: len(desk.called) == 3)
    stranger.say(pickle.dumps(("wait", (3,), {})), 3)
    await asyncio.sleep(0.05)
    begun = list(desk.called)
    desk.gate.set()
    answers = [pickle.loads(await stranger.read()) for _ in range(4)]

    assert begun == [0, 1, 2]
    assert sorted(answers) == [(True, number) for number in range(4)]


async def test_a_caller_waits_while_the_door_does_not_read() -> None:
    secret = secrets.token_bytes(32)
    reading = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = secrets.token_bytes(NONCE)
        writer.write(HEAD.pack(NONCE, 0) + nonce)
        said = (await reader.readexactly(HEAD.size + doors.GREETING))[HEAD.size :]
        body = proof(secret, b"door", nonce + said[:NONCE])
        writer.write(HEAD.pack(len(body), 0) + body)
        await reading.wait()
        while True:
            size, number = HEAD.unpack(await reader.readexactly(HEAD.size))
            await reader.readexactly(size)
            answer = pickle.dumps((True, number))
            writer.write(HEAD.pack(len(answer), number) + answer)

    async with impostor(talk) as place, direct(Door(HOST, place.port, secret)) as calls:
        asking = [asyncio.create_task(calls.call("echo", (bytes(2**20),), {})) for _ in range(60)]
        await asyncio.sleep(0.3)
        assert calls.connection is not None
        buffered = calls.connection.transport.get_write_buffer_size()
        for task in asking[30:]:
            task.cancel()
        reading.set()
        answers = await asyncio.gather(*asking[:30])

    assert buffered < 20 * 2**20
    assert sorted(answers) == list(range(1, 31)), "those who left while they waited have sent nothing"


# frames


class Kept(Frames):
    """Keeps what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, bytes]] = []

    def received(self, number: int, body: memoryview) -> None:
        self.kept.append((number, bytes(body)))


class Written:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def get_extra_info(self, name: str) -> socket.socket:
        return socket.socket()

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def abort(self) -> None:
        self.pieces.append(b"aborted")


def connected(end: Frames) -> Written:
    under = Written()
    end.connection_made(under)  # type: ignore[arg-type]
    return under


async def test_messages_arrive_whole_wherever_they_are_cut() -> None:
    roll = random.Random(7)
    bodies = [b"", b"x", bytes(100), b"", secrets.token_bytes(3000), b"end"]
    stream = b"".join(HEAD.pack(len(body), number) + body for number, body in enumerate(bodies))
    cuttings = [[len(stream)], [1] * len(stream)]
    cuttings += [[roll.choice((1, 3, 11, 12, 13, 500)) for _ in range(len(stream))] for _ in range(200)]

    for cutting in cuttings:
        end, at = Kept(), 0
        connected(end)
        for size in cutting:
            end.data_received(stream[at : at + size])
            at += size
            if at >= len(stream):
                break
        assert end.kept == list(enumerate(bodies)), cutting


async def test_what_is_sent_in_one_turn_leaves_in_one_piece_in_its_order() -> None:
    end, reader = Kept(), Kept()
    under = connected(end)
    connected(reader)

    for number in range(10):
        end.send(number, b"x" * number)
    assert under.pieces == []
    await asyncio.sleep(0)
    end.send(10, b"next")
    await asyncio.sleep(0)

    assert len(under.pieces) == 2
    for piece in under.pieces:
        reader.data_received(piece)
    assert reader.kept == [*((number, b"x" * number) for number in range(10)), (10, b"next")]


async def test_much_does_not_wait_for_the_end_of_the_turn() -> None:
    end = Kept()
    under = connected(end)

    end.send(1, b"x" * (HELD - HEAD.size - 1))
    assert under.pieces == []
    end.send(2, b"")

    assert [len(piece) for piece in under.pieces] == [HELD + HEAD.size - 1]


async def test_after_its_end_nothing_is_sent_or_received() -> None:
    end = Kept()
    under = connected(end)
    end.send(1, b"held")

    end.abort()
    end.abort()
    end.send(2, b"late")
    end.data_received(HEAD.pack(0, 3))
    await asyncio.sleep(0)

    assert under.pieces == [b"aborted"]
    assert end.kept == []


async def test_no_connection_is_needed_to_be_told_that_there_is_none() -> None:
    end = Connection(b"secret")
    connected(end)
    end.connection_lost(None)

    with pytest.raises(Away):
        await end.call("echo", (), {})
    with pytest.raises(Away):
        await end.welcome
